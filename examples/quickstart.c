/* The same in C, as far as the launch: what would serve a shape on this machine? quickstart_c [DATABASE] */
#include <stdio.h>

#include "attune/attune.h"

static int failed(attune_status status) {
  fprintf(stderr, "%s: %s\n", attune_status_name(status), attune_last_error());
  return status == ATTUNE_NO_GPU ? 3 : 1;
}

int main(int argc, char** argv) {
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  if (argc > 1) options.database = argv[1];
  attune_library* library = NULL;
  attune_status status = attune_open(&options, &library);
  if (status != ATTUNE_OK) return failed(status);

  attune_shape shape = {.struct_size = sizeof shape, .batch = 1, .q_heads = 32, .kv_heads = 8, .q_len = 2048,
                        .kv_len = 2048, .head_dim = 128, .mask = ATTUNE_MASK_CAUSAL_BOTTOM_RIGHT};
  const attune_kernel* kernel = NULL;
  attune_info info = {.struct_size = sizeof info};
  status = attune_prepare(library, &shape, &kernel);
  if (status == ATTUNE_OK) status = attune_explain(kernel, &info);
  if (status != ATTUNE_OK) {
    attune_close(library);
    return failed(status);
  }
  printf("%s %s, expected %.1f us\n%s\n", info.template_name, info.config_json, info.expected_us, info.reason);
  /* attune_kernel_forward(kernel, &tensors, 0, stream) launches it; see quickstart.cc. */
  attune_close(library);
  return 0;
}
