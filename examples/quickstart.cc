// One causal attention from C++, with the fastest kernel that is known for it. docs/c.md says how to build
// it.
#include <cuda_runtime_api.h>

#include <attune/attune.hpp>
#include <cstdio>
#include <vector>

static void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

static void* device_tensor(size_t bytes, int fill) {  // your data here
  void* tensor = nullptr;
  check(cudaMalloc(&tensor, bytes));
  check(cudaMemset(tensor, fill, bytes));
  return tensor;
}

int main() try {
  const attune_api::Library library;
  attune_shape shape = attune_api::square_shape(/*batch=*/1, /*heads=*/32, /*length=*/2048, /*head_dim=*/128,
                                                /*causal=*/true);
  shape.kv_heads = 8;
  const attune_api::Kernel kernel = library.prepare(shape);
  const attune_info info = kernel.info();
  const char* const provenance[] = {"exact", "near", "default"};
  std::printf("%s record: %s %s\n%s\n", provenance[info.provenance], info.template_name, info.config_json,
              info.reason);

  std::vector<std::uint16_t> result(std::size_t{32} * 2048 * 128);
  const std::size_t q_bytes = 2 * result.size(), kv_bytes = q_bytes / 4;
  void* const q = device_tensor(q_bytes, 0);
  void* const k = device_tensor(kv_bytes, 0);
  void* const v = device_tensor(kv_bytes, 0x3f);  // each value 0x3f3f: 0.747 in bf16
  void* const o = device_tensor(q_bytes, 0);
  kernel.forward(attune_api::contiguous_tensors(shape, q, k, v, o), /*scale: 1/sqrt(head_dim)*/ 0,
                 /*stream=*/nullptr);

  check(cudaMemcpy(result.data(), o, q_bytes, cudaMemcpyDeviceToHost));  // waits for the launch
  std::size_t wrong = 0;
  for (const std::uint16_t value : result) wrong += value != 0x3f3f;  // the mean of equal values
  std::printf("%zu of %zu values are wrong\n", wrong, result.size());
  return wrong == 0 ? 0 : 1;
} catch (const attune_api::Error& error) {
  std::fprintf(stderr, "%s: %s\n", attune_status_name(error.status()), error.what());
  return error.status() == ATTUNE_NO_GPU ? 3 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "CUDA: %s\n", error.what());
  return 1;
}
