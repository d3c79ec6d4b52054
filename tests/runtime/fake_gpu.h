// A CUDA driver for tests without a GPU (ATTUNE_CUDA_DRIVER points at its library): one H100 with host
// memory, which loads any image and notes launches instead of running them. It knows to which device's
// context a module and a stream belong, and refuses a launch that mixes them as the real one does.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "templates/attention_params.cuh"

struct FakeLaunch {
  const void* stream = nullptr;
  int device = 0;
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
  int devices = 1;
  int current = 0;                           // device of the caller's current context, -1: none
  std::map<const void*, int> stream_device;  // of streams that are not of the current context's device
  bool note_launches = true;
  int maps_encoded = 0;
  int module_loads_to_fail = 0;
  int count_code = 0;  // of cuDeviceGetCount
};
extern "C" __attribute__((visibility("default"))) FakeGpu* fake_gpu();
