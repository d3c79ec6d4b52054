#include "cli/seed_configs.h"

#include <nlohmann/json.hpp>

#include "templates/helion_config.h"

namespace attune::cli {
namespace {

bool is_inline(const std::string& word) {
  const auto first = word.find_first_not_of(" \t\n");
  return first != std::string::npos && (word[first] == '{' || word[first] == '[');
}

Result<nlohmann::json> read_word(const std::string& word) {
  if (!is_inline(word)) return read_json_file(word);
  auto json = nlohmann::json::parse(word, nullptr, false);
  if (json.is_discarded()) return fail("'{}' is not JSON", word);
  return json;
}

}  // namespace

Result<std::vector<Config>> read_seed_configs(const std::vector<std::string>& words, const Target& target) {
  const SpaceDefinition definition = target.tmpl->space(target.shape, target.device.facts);
  const Config fallback = target.tmpl->default_config(target.shape, target.device.facts);
  std::vector<Config> configs;
  for (const std::string& word : words) {
    const auto json = read_word(word);
    if (!json) return fail("--seed-config: {}", json.error().message);
    const auto list = json->is_array() ? *json : nlohmann::json::array({*json});
    for (const auto& item : list) {
      auto config = is_helion_config(item) ? config_from_helion(item, definition, fallback)
                                           : config_from_json(item, definition);
      if (!config) return fail("--seed-config {}: {}", word, config.error().message);
      configs.push_back(std::move(*config));
    }
  }
  return configs;
}

}  // namespace attune::cli
