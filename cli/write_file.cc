#include "cli/write_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace attune::cli {
namespace {

bool write_bytes(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  return bool(file);
}

Error cannot_write(const std::string& path) {
  return fail("cannot write {}: {}", path, std::strerror(errno));
}

}  // namespace

Status write_file(const std::string& path, std::string_view bytes) {
  // A pipe or /dev/null is written to, never replaced.
  std::error_code ignored;
  const auto status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    return write_bytes(path, bytes) ? Status() : cannot_write(path);
  }
  const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  if (write_bytes(temporary, bytes) && std::rename(temporary.c_str(), path.c_str()) == 0) return {};
  Error error = cannot_write(path);
  std::filesystem::remove(temporary, ignored);
  return error;
}

}  // namespace attune::cli
