#include "base/own_path.h"

#include <filesystem>

namespace attune {

Result<std::string> own_path() {
  std::error_code code;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", code);
  if (code) return fail("cannot find this program's own file: {}", code.message());
  return path.string();
}

}  // namespace attune
