#include "cli/restrict.h"

#include <sstream>

namespace attune::cli {

void add_restrict_flag(CLI::App& app, std::vector<std::string>& words) {
  app.add_option("--restrict", words,
                 "Keep to these values of an axis (attune space lists both); may be repeated")
      ->type_name("AXIS=V1,V2");
}

Result<std::map<std::string, std::vector<std::string>>> parse_restrictions(
    const std::vector<std::string>& words) {
  std::map<std::string, std::vector<std::string>> allowed;
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == word.size()) {
      return fail("--restrict '{}': must be AXIS=VALUE,VALUE..., as in num_warps=4,8", word);
    }
    auto& values = allowed[word.substr(0, equals)];
    std::istringstream rest(word.substr(equals + 1));
    for (std::string value; std::getline(rest, value, ',');) values.push_back(value);
  }
  return allowed;
}

}  // namespace attune::cli
