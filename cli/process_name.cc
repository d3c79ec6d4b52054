#include "cli/process_name.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>

namespace attune::cli {

std::string host_and_process() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return fmt::format("process {}", ::getpid());
  return fmt::format("{}:{}", name.data(), ::getpid());
}

}  // namespace attune::cli
