#include "compiler/kernel_source.h"

#include <fmt/core.h>

#include <string_view>

#include "base/hash.h"

namespace attune {

std::vector<std::string> compile_options(const KernelSource& source, const std::string& arch) {
  // No NVRTC cache: it is the driver's, unbounded by us, and gives no log. -v: the resource report.
  std::vector<std::string> options{"--gpu-architecture=" + arch, "-std=c++20", "-default-device",
                                   "--no-cache", "--ptxas-options=-v"};
  options.insert(options.end(), source.options.begin(), source.options.end());
  return options;
}

std::string kernel_key(const KernelSource& source, const std::string& arch,
                       const std::string& nvrtc_version) {
  std::string all;
  // Lengths keep neighbouring fields apart: ("ab", "c") is not ("a", "bc").
  const auto add = [&all](std::string_view field) {
    all += fmt::format("{}:", field.size());
    all += field;
  };
  add("attune cubin 1");
  add(nvrtc_version);
  add(source.name);  // __FILE__
  add(source.entry);
  add(source.text);
  add(fmt::format("{} headers", source.headers.size()));
  for (const auto& [name, text] : source.headers) {
    add(name);
    add(text);
  }
  for (const auto& option : compile_options(source, arch)) add(option);
  return sha256_hex(all);
}

}  // namespace attune
