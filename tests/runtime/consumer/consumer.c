/* A program of somebody else's in C: launches one attention and says what served it. There is no device memory behind
 * its tensors, so that it is for the tests' fake driver alone. Exit code: 0 launched, 1 failed, 3 no GPU. */
#include <attune/attune.h>
#include <stdio.h>

static int failed(attune_status status) {
  fprintf(stderr, "%s: %s\n", attune_status_name(status), attune_last_error());
  return status == ATTUNE_NO_GPU ? 3 : 1;
}

int main(void) {
  attune_library* library = NULL;
  attune_status status = attune_open(NULL, &library);
  if (status != ATTUNE_OK) return failed(status);

  attune_shape shape = {.struct_size = sizeof shape, .batch = 1, .q_heads = 32, .kv_heads = 8, .q_len = 2048,
                        .kv_len = 2048, .head_dim = 128, .mask = ATTUNE_MASK_CAUSAL_BOTTOM_RIGHT};
  attune_tensors tensors = {.struct_size = sizeof tensors};
  tensors.q.data = tensors.k.data = tensors.v.data = tensors.o.data = (void*)0x7f0000000000;
  const attune_kernel* kernel = NULL;
  attune_info info = {.struct_size = sizeof info};
  status = attune_contiguous_strides(&shape, &tensors);
  if (status == ATTUNE_OK) status = attune_prepare(library, &shape, &kernel);
  if (status == ATTUNE_OK) status = attune_explain(kernel, &info);
  if (status == ATTUNE_OK) status = attune_forward(library, &shape, &tensors, 0, NULL);
  if (status != ATTUNE_OK) return failed(status);
  printf("launched %s\n%s\n", info.template_name, info.reason);
  const int shipped = info.provenance == ATTUNE_PROVENANCE_EXACT; /* the record that comes with attune */
  attune_close(library);
  return shipped ? 0 : 1;
}
