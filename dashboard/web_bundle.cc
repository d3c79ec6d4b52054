#include "dashboard/web_bundle.h"

#include <fmt/core.h>

#include <stdexcept>

#include "embedded/dashboard_web.h"

namespace attune {
namespace {

constexpr std::string_view kExport = "export ";

std::string bundled() {
  std::string script;
  for (const EmbeddedFile& file : dashboard_web()) {
    if (!file.name.ends_with(".js")) continue;
    for (std::string_view rest = file.contents; !rest.empty();) {
      const std::size_t end = std::min(rest.find('\n'), rest.size() - 1) + 1;
      std::string_view line = rest.substr(0, end);
      rest.remove_prefix(end);
      if (line.starts_with("import ")) continue;
      if (line.starts_with(kExport)) line.remove_prefix(kExport.size());
      script += line;
    }
  }
  return script;
}

}  // namespace

std::string_view web_file(std::string_view name) {
  for (const EmbeddedFile& file : dashboard_web()) {
    if (file.name == name) return file.contents;
  }
  throw std::logic_error(fmt::format("the page has no file {}", name));
}

const std::string& web_script() {
  static const std::string script = bundled();
  return script;
}

}  // namespace attune
