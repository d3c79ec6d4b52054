/* One causal attention with the fastest kernel that is known for it, checked against plain C on some rows.
 * docs/c.md says how to build it. Exit code: 0 all is well, 1 it is not, 3 no GPU. */
#include <attune/attune.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { Q_HEADS = 32, KV_HEADS = 8, LENGTH = 2048, HEAD_DIM = 128, LAUNCHES = 50 };

static void check(attune_status status) {
  if (status == ATTUNE_OK) return;
  fprintf(stderr, "%s: %s\n", attune_status_name(status), attune_last_error());
  exit(status == ATTUNE_NO_GPU ? 3 : 1);
}
static void check_cuda(cudaError_t error) {
  if (error == cudaSuccess) return;
  fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(error));
  exit(1);
}

/* bf16 is the upper half of a float. */
static float from_bf16(uint16_t value) {
  float result = 0;
  memcpy((char*)&result + 2, &value, sizeof value);
  return result;
}

/* [heads, LENGTH, HEAD_DIM] of random numbers between -2 and 2, in device memory and (what is returned) in the host's. */
static uint16_t* random_tensor(int heads, attune_tensor* tensor) {
  const size_t count = (size_t)heads * LENGTH * HEAD_DIM;
  uint16_t* host = malloc(count * sizeof *host);
  for (size_t i = 0; i < count; ++i) {
    const float value = 4 * (float)rand() / (float)RAND_MAX - 2;
    memcpy(&host[i], (const char*)&value + 2, sizeof *host);
  }
  check_cuda(cudaMalloc(&tensor->data, count * sizeof *host));
  check_cuda(cudaMemcpy(tensor->data, host, count * sizeof *host, cudaMemcpyHostToDevice));
  return host;
}

/* How many values of one row of the output differ from what plain C computes. */
static int wrong_values(const uint16_t* q, const uint16_t* k, const uint16_t* v, const uint16_t* o, int head, int row) {
  const size_t kv_head = (size_t)(head / (Q_HEADS / KV_HEADS)) * LENGTH * HEAD_DIM;
  q += ((size_t)head * LENGTH + row) * HEAD_DIM;
  o += ((size_t)head * LENGTH + row) * HEAD_DIM;
  double sum = 0, weighted[HEAD_DIM] = {0};
  for (int key = 0; key <= row; ++key) {
    const size_t kv_row = kv_head + (size_t)key * HEAD_DIM;
    double score = 0;
    for (int d = 0; d < HEAD_DIM; ++d) score += from_bf16(q[d]) * from_bf16(k[kv_row + d]);
    const double weight = exp(score / sqrt(HEAD_DIM));
    sum += weight;
    for (int d = 0; d < HEAD_DIM; ++d) weighted[d] += weight * from_bf16(v[kv_row + d]);
  }
  int wrong = 0;
  for (int d = 0; d < HEAD_DIM; ++d) wrong += !(fabs(weighted[d] / sum - from_bf16(o[d])) < 0.02);
  return wrong;
}

int main(void) {
  attune_library* library;
  const attune_kernel* kernel;
  const attune_shape shape = {.struct_size = sizeof shape, .batch = 1, .q_heads = Q_HEADS, .kv_heads = KV_HEADS,
                              .q_len = LENGTH, .kv_len = LENGTH, .head_dim = HEAD_DIM,
                              .mask = ATTUNE_MASK_CAUSAL_BOTTOM_RIGHT}; /* bf16, [batch, heads, length, head_dim] */
  attune_info info = {.struct_size = sizeof info};
  check(attune_open(NULL, &library));
  check(attune_prepare(library, &shape, &kernel)); /* compiles, unless that was done before */
  check(attune_explain(kernel, &info));
  static const char* const provenance[] = {"exact", "near", "default"};
  printf("%s record: %s %s\n%s\n", provenance[info.provenance], info.template_name, info.config_json, info.reason);

  attune_tensors tensors = {.struct_size = sizeof tensors};
  const uint16_t* q = random_tensor(Q_HEADS, &tensors.q);
  const uint16_t* k = random_tensor(KV_HEADS, &tensors.k);
  const uint16_t* v = random_tensor(KV_HEADS, &tensors.v);
  uint16_t* o = random_tensor(Q_HEADS, &tensors.o);
  check(attune_contiguous_strides(&shape, &tensors));

  cudaStream_t stream;
  cudaEvent_t begin, end;
  check_cuda(cudaStreamCreate(&stream));
  check_cuda(cudaEventCreate(&begin));
  check_cuda(cudaEventCreate(&end));
  for (int i = -1; i < LAUNCHES; ++i) { /* the first is not timed */
    if (i == 0) check_cuda(cudaEventRecord(begin, stream));
    check(attune_forward(library, &shape, &tensors, /*scale: 1/sqrt(head_dim)*/ 0, stream));
  }
  check_cuda(cudaEventRecord(end, stream));
  check_cuda(cudaStreamSynchronize(stream));
  float ms = 0;
  check_cuda(cudaEventElapsedTime(&ms, begin, end));
  printf("%.1f us a launch, one after the other; %.1f us expected with a cold L2\n", 1000 * ms / LAUNCHES,
         info.expected_us);

  check_cuda(cudaMemcpy(o, tensors.o.data, (size_t)2 * Q_HEADS * LENGTH * HEAD_DIM, cudaMemcpyDeviceToHost));
  int wrong = 0;
  for (int i = 0; i < 8; ++i) wrong += wrong_values(q, k, v, o, /*head=*/4 * i + 1, /*row=*/292 * i);
  printf("%d of %d checked values are wrong\n", wrong, 8 * HEAD_DIM);
  attune_close(library);
  return wrong == 0 ? 0 : 1;
}
