// A CUDA driver for tests without a GPU (ATTUNE_CUDA_DRIVER points at its library): one H100 with host
// memory, which loads any image and notes launches instead of running them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "templates/attention_params.cuh"

struct FakeLaunch {
  const void* stream = nullptr;
  std::array<unsigned, 3> grid{};
  std::array<unsigned, 3> block{};
  unsigned smem_bytes = 0;
  std::vector<std::byte> argument;
};

// The fake's state, reached through the symbol "fake_gpu".
struct FakeGpu {
  std::vector<FakeLaunch> launches;
  std::size_t argument_bytes = sizeof(attune::AttentionParams);  // of every kernel
  bool capturing = false;                                        // every stream
  int modules = 0;                                               // loaded now
  int retained = 0;
  int contexts_pushed = 0;
};
extern "C" __attribute__((visibility("default"))) FakeGpu* fake_gpu();
