// One causal attention with the fastest kernel that is known for it: quickstart [DATABASE]
#include <cuda_runtime_api.h>

#include <cstdio>
#include <exception>

#include "attune/attune.hpp"

int main(int argc, char** argv) try {
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  if (argc > 1) options.database = argv[1];
  const attune_api::Library library(options);

  attune_shape shape = attune_api::square_shape(/*batch=*/1, /*heads=*/32, /*length=*/2048, /*head_dim=*/128,
                                                /*causal=*/true);
  shape.kv_heads = 8;
  const attune_api::Kernel kernel = library.prepare(shape);
  const attune_info info = kernel.info();
  const char* const provenance[] = {"exact", "near", "default"};
  std::printf("%s record: %s %s\n%s\n", provenance[info.provenance], info.template_name, info.config_json,
              info.reason);

  const size_t q_bytes = size_t{2} * 32 * 2048 * 128;
  const size_t kv_bytes = size_t{2} * 8 * 2048 * 128;
  void *q = nullptr, *k = nullptr, *v = nullptr, *o = nullptr;
  if (cudaMalloc(&q, q_bytes) || cudaMalloc(&k, kv_bytes) || cudaMalloc(&v, kv_bytes) ||
      cudaMalloc(&o, q_bytes)) {
    std::fprintf(stderr, "no device memory: %s\n", cudaGetErrorString(cudaGetLastError()));
    return 1;
  }
  cudaMemset(q, 0, q_bytes), cudaMemset(k, 0, kv_bytes), cudaMemset(v, 0, kv_bytes);  // your data here

  const attune_tensors tensors = attune_api::contiguous_tensors(shape, q, k, v, o);
  kernel.forward(tensors, /*scale: 1/sqrt(head_dim)*/ 0, /*stream=*/nullptr);
  const cudaError_t done = cudaDeviceSynchronize();
  std::printf("launched: %s\n", cudaGetErrorString(done));
  return done == cudaSuccess ? 0 : 1;
} catch (const attune_api::Error& error) {
  std::fprintf(stderr, "%s: %s\n", attune_status_name(error.status()), error.what());
  return error.status() == ATTUNE_NO_GPU ? 3 : 1;
}
