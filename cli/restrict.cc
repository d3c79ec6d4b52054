#include "cli/restrict.h"

namespace attune::cli {
namespace {

// At commas, but not those of a list: "[0,1],[1,0]" is two values. "" is one, the empty word.
std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> words{""};
  int depth = 0;
  for (const char c : text) {
    depth += (c == '[') - (c == ']');
    if (c == ',' && depth == 0) {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  return words;
}

}  // namespace

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
    if (equals == std::string::npos || equals == 0) {
      return fail("--restrict '{}': must be AXIS=VALUE,VALUE..., as in num_warps=4,8", word);
    }
    allowed[word.substr(0, equals)] = split(word.substr(equals + 1));
  }
  return allowed;
}

}  // namespace attune::cli
