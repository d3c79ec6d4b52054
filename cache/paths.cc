#include "cache/paths.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "cache/trial_store.h"

namespace attune {
namespace {

std::filesystem::path path_from(const char* variable) {
  const char* value = std::getenv(variable);
  return value ? value : "";
}

std::filesystem::path home() {
  if (auto folder = path_from("HOME"); !folder.empty()) return folder;
  const passwd* user = getpwuid(getuid());
  return user && user->pw_dir ? user->pw_dir : "";
}

}  // namespace

std::filesystem::path cache_folder() {
  if (auto folder = path_from("ATTUNE_CACHE_DIR"); !folder.empty()) return folder;
  if (auto folder = path_from("XDG_CACHE_HOME"); folder.is_absolute()) return folder / "attune";
  if (auto folder = home(); !folder.empty()) return folder / ".cache" / "attune";
  std::error_code ignored;
  return std::filesystem::temp_directory_path(ignored) / fmt::format("attune-{}", getuid());
}

std::filesystem::path config_folder() {
  if (auto folder = path_from("XDG_CONFIG_HOME"); folder.is_absolute()) return folder / "attune";
  const auto folder = home();
  return folder.empty() ? folder : folder / ".config" / "attune";
}

std::string default_database() {
  if (auto location = path_from("ATTUNE_DB"); !location.empty()) return location.string();
  return (cache_folder() / "attune.db").string();
}

}  // namespace attune
