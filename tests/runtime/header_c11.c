/* The header is C: this file is compiled as C11 with all warnings as errors. */
#include "attune/attune.h"

attune_status use_from_c(void) {
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  attune_library* library = NULL;
  return attune_open(&options, &library);
}
