#include "base/device_facts.h"

#include <array>
#include <nlohmann/json.hpp>

#include "base/json_text.h"
#include "base/printable.h"

namespace attune {
namespace {

struct NominalArch {
  const char* arch;
  const char* name;
  int major, minor, sm_count;
  std::int64_t smem_per_block_kib, smem_per_sm_kib;
  int threads_per_sm;
  std::int64_t l2_mib, memory_gib;
};

// One representative part an arch; the per-SM limits are the compute capability's own.
constexpr std::array kNominal{
    NominalArch{"sm_80", "A100 (nominal)", 8, 0, 108, 163, 164, 2048, 40, 80},
    NominalArch{"sm_86", "RTX A6000 (nominal)", 8, 6, 84, 99, 100, 1536, 6, 48},
    NominalArch{"sm_89", "L40S (nominal)", 8, 9, 142, 99, 100, 1536, 96, 48},
    NominalArch{"sm_90a", "H100 SXM (nominal)", 9, 0, 132, 227, 228, 2048, 50, 80},
    NominalArch{"sm_100a", "B200 (nominal)", 10, 0, 148, 227, 228, 2048, 126, 180},
    NominalArch{"sm_120a", "RTX PRO 6000 Blackwell (nominal)", 12, 0, 188, 99, 100, 1536, 128, 96},
};

}  // namespace

nlohmann::json to_json(const DeviceFacts& facts) {
  return {{"name", facts.name},
          {"arch", facts.arch},
          {"compute_major", facts.compute_major},
          {"compute_minor", facts.compute_minor},
          {"sm_count", facts.sm_count},
          {"smem_per_block_bytes", facts.smem_per_block_bytes},
          {"smem_per_sm_bytes", facts.smem_per_sm_bytes},
          {"registers_per_sm", facts.registers_per_sm},
          {"threads_per_sm", facts.threads_per_sm},
          {"l2_bytes", facts.l2_bytes},
          {"memory_bytes", facts.memory_bytes},
          {"driver_version", facts.driver_version},
          {"driver", facts.driver}};
}

Result<DeviceFacts> device_facts_from_json(const nlohmann::json& json) {
  DeviceFacts facts;
  try {
    json.at("name").get_to(facts.name);
    json.at("arch").get_to(facts.arch);
    read_whole_number(json, "compute_major", facts.compute_major);
    read_whole_number(json, "compute_minor", facts.compute_minor);
    read_whole_number(json, "sm_count", facts.sm_count);
    read_whole_number(json, "smem_per_block_bytes", facts.smem_per_block_bytes);
    read_whole_number(json, "smem_per_sm_bytes", facts.smem_per_sm_bytes);
    read_whole_number(json, "registers_per_sm", facts.registers_per_sm);
    read_whole_number(json, "threads_per_sm", facts.threads_per_sm);
    read_whole_number(json, "l2_bytes", facts.l2_bytes);
    read_whole_number(json, "memory_bytes", facts.memory_bytes);
    read_whole_number(json, "driver_version", facts.driver_version);
    json.at("driver").get_to(facts.driver);
  } catch (const nlohmann::json::exception& exception) {
    return fail("the description of the device is wrong: {}", exception.what());
  }
  return facts;
}

std::string arch_for(int compute_major, int compute_minor) {
  const std::string suffix = compute_major >= 9 ? "a" : "";
  return fmt::format("sm_{}{}{}", compute_major, compute_minor, suffix);
}

Result<DeviceFacts> nominal_facts(const std::string& arch) {
  for (const auto& row : kNominal) {
    if (arch != row.arch) continue;
    return DeviceFacts{.name = row.name,
                       .arch = row.arch,
                       .compute_major = row.major,
                       .compute_minor = row.minor,
                       .sm_count = row.sm_count,
                       .smem_per_block_bytes = row.smem_per_block_kib * 1024,
                       .smem_per_sm_bytes = row.smem_per_sm_kib * 1024,
                       .registers_per_sm = 65536,
                       .threads_per_sm = row.threads_per_sm,
                       .l2_bytes = row.l2_mib * 1024 * 1024,
                       .memory_bytes = row.memory_gib * 1024 * 1024 * 1024,
                       .driver_version = 0,
                       .driver = ""};
  }
  return fail("unknown arch '{}': sm_80, sm_86, sm_89, sm_90a, sm_100a or sm_120a", printable(arch));
}

}  // namespace attune
