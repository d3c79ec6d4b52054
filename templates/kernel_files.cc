#include "templates/kernel_files.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "base/hash.h"
#include "base/result.h"
#include "embedded/embedded_kernels.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

std::string& kernel_directory() {
  static std::string folder = [] {
    const char* value = std::getenv("ATTUNE_KERNEL_DIR");
    return std::string(value == nullptr ? "" : value);
  }();
  return folder;
}

}  // namespace

Status use_kernel_directory(const std::string& folder) {
  for (const EmbeddedFile& file : embedded_kernels()) {
    if (!std::filesystem::exists(std::filesystem::path(folder) / file.name)) {
      return fail("kernel folder '{}' lacks {}; give a copy of the project's templates/", folder, file.name);
    }
  }
  kernel_directory() = folder;
  return {};
}

std::string kernel_file(std::string_view name) {
  const std::string& folder = kernel_directory();
  if (!folder.empty()) {
    const auto path = std::filesystem::path(folder) / name;
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error(fmt::format("cannot read the kernel file {}", path.string()));
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  for (const EmbeddedFile& file : embedded_kernels()) {
    if (file.name == name) return std::string(file.contents);
  }
  throw std::logic_error(fmt::format("no kernel file named {}", name));
}

std::vector<std::pair<std::string, std::string>> kernel_files(const std::vector<std::string_view>& names) {
  std::vector<std::pair<std::string, std::string>> files;
  for (std::string_view name : names) files.emplace_back(name, kernel_file(name));
  return files;
}

std::string hash_of_template(const std::string& prelude, const std::vector<std::string_view>& files) {
  std::string all = prelude;
  for (const auto& [name, text] : kernel_files(files)) all += name + '\n' + text;
  return sha256_hex(all).substr(0, 16);
}

}  // namespace attune
