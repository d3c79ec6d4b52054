// What legality rules, measurements and records need to know of a GPU. Plain values: a live GPU fills them
// from driver attributes, a recorded device from its file.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"

namespace attune {

struct DeviceFacts {
  std::string name;  // as the driver gives it, "NVIDIA H100 80GB HBM3"
  std::string arch;  // NVRTC's name with the arch-specific suffix where one exists: "sm_90a", "sm_80"
  int compute_major = 0;
  int compute_minor = 0;
  int sm_count = 0;
  std::int64_t smem_per_block_bytes = 0;  // opt-in maximum (232448 on Hopper)
  std::int64_t smem_per_sm_bytes = 0;
  int registers_per_sm = 0;  // 32-bit registers
  int threads_per_sm = 0;
  std::int64_t l2_bytes = 0;
  std::int64_t memory_bytes = 0;
  int driver_version = 0;  // CUDA version the driver supports, as cuDriverGetVersion gives it: 13000
  std::string driver;      // the kernel driver's own version where known ("580.159.04"), else ""

  bool operator==(const DeviceFacts&) const = default;
};

nlohmann::json to_json(const DeviceFacts& facts);
Result<DeviceFacts> device_facts_from_json(const nlohmann::json& json);

// "sm_90a" for 9.0, "sm_100a" for 10.0, "sm_120a" for 12.0, "sm_80" for 8.0 ...
std::string arch_for(int compute_major, int compute_minor);

// Facts good enough to compile for an arch without such a GPU at hand (vendor documentation: CUDA C++
// Programming Guide, "Technical Specifications per Compute Capability"). An unknown arch is an error that
// lists the known ones: sm_80, sm_86, sm_89, sm_90a, sm_100a, sm_120a.
Result<DeviceFacts> nominal_facts(const std::string& arch);

}  // namespace attune
