#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attune {

// What ptxas says of one kernel (--ptxas-options=-v). Registers 0: it said nothing.
struct ResourceUsage {
  int registers = 0;  // a thread, 32-bit
  std::int64_t spill_store_bytes = 0;
  std::int64_t spill_load_bytes = 0;
  std::int64_t stack_bytes = 0;
  std::int64_t static_smem_bytes = 0;

  bool operator==(const ResourceUsage&) const = default;
};

enum class CompileOutcome { ok, error, timeout };

struct CompiledKernel {
  CompileOutcome outcome = CompileOutcome::error;
  std::string key;         // content address: hash of source, headers, options, arch and NVRTC version
  std::string cubin;       // ELF image; empty unless ok
  std::string cubin_hash;  // SHA-256 of the image; equal hashes mean equal machine code
  std::string entry;       // the kernel's name in the image
  std::string arch;
  ResourceUsage usage;
  // Codes of advisory messages that mean a bad candidate though NVRTC reports success: C7508 setmaxnreg
  // ignored, C7510/C7511/C7514 wgmma serialized, C7512 registers. The harmless C7519 is not listed.
  std::vector<std::string> warnings;
  std::string log;        // the compiler's own words, trimmed
  double compile_ms = 0;  // of the compile that made it, also when it came from the store
  bool from_store = false;
  std::string store_error;  // why a CompilePool could not publish it (full disk ...), else empty
};

}  // namespace attune
