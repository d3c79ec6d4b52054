/* exits_open DATABASE CUBINS: launches through libattune.so and ends with the handle open; exit code 0. */
#include <stdio.h>

#include "attune/attune.h"

static attune_library* library; /* as a plugin holds it to its end: what a global points to is no leak */

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  options.database = argv[1];
  options.cubins = argv[2];
  attune_shape shape = {.struct_size = sizeof shape, .batch = 1, .q_heads = 32, .kv_heads = 8, .q_len = 2048,
                        .kv_len = 2048, .head_dim = 128, .mask = ATTUNE_MASK_CAUSAL_BOTTOM_RIGHT};
  attune_tensors tensors = {.struct_size = sizeof tensors};
  tensors.q.data = tensors.k.data = tensors.v.data = tensors.o.data = (void*)0x7f0000000000;
  attune_status status = attune_contiguous_strides(&shape, &tensors);
  if (status == ATTUNE_OK) status = attune_open(&options, &library);
  if (status == ATTUNE_OK) status = attune_forward(library, &shape, &tensors, 0, NULL);
  if (status != ATTUNE_OK) fprintf(stderr, "%s: %s\n", attune_status_name(status), attune_last_error());
  return status == ATTUNE_OK ? 0 : 1;
}
