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

}  // namespace attune
