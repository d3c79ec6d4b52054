#pragma once

#include <string>
#include <utility>
#include <vector>

namespace attune {

// Everything that decides what NVRTC makes of a kernel, but for the arch and NVRTC itself.
struct KernelSource {
  std::string name;                                          // shown in logs, "portable_attention.cu"
  std::string text;                                          // the program
  std::vector<std::pair<std::string, std::string>> headers;  // include name -> contents; no files are read
  std::vector<std::string> options;  // beside --gpu-architecture and the standard, "--maxrregcount=128"
  std::string entry;                 // extern "C" name of the kernel: "attention_forward"
};

// The content address of what NVRTC `nvrtc_version` ("13.0") makes of the source for an arch: SHA-256 of all
// that decides it, the options that attune adds included. Nvrtc::key() is this with its own version.
std::string kernel_key(const KernelSource& source, const std::string& arch, const std::string& nvrtc_version);

// All options of a compile, in order: the arch, the standard, what attune always asks for, the source's own.
std::vector<std::string> compile_options(const KernelSource& source, const std::string& arch);

}  // namespace attune
