#include "cli/seed_configs.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/json_text.h"
#include "cache/lookup.h"
#include "templates/helion_config.h"

namespace attune::cli {
namespace {

constexpr std::size_t kMostNearRecords = 3;

bool is_inline(const std::string& word) {
  const auto first = word.find_first_not_of(" \t\n");
  return first != std::string::npos && (word[first] == '{' || word[first] == '[');
}

Result<nlohmann::json> read_word(const std::string& word) {
  if (!is_inline(word)) return read_json_file(word);
  auto json = parse_outside_json(word);
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

Result<std::vector<Config>> near_records(const TrialStore& store, const Target& target, const Space& space,
                                         const MeasurementPolicy& policy) {
  TrialFilter filter;
  filter.template_name = target.tmpl->name();
  filter.template_hash = target.tmpl->hash();
  filter.gpu_name = target.device.facts.name;
  filter.arch = target.device.facts.arch;
  filter.replayed = target.device.recording != nullptr;
  filter.policy = policy;
  const auto records = store.records(filter);
  if (!records) return records.error();
  std::vector<std::tuple<double, std::string, Config>> near;
  for (const Trial& record : *records) {
    if (record.shape == target.shape) continue;  // its own trials are resumed
    const auto distance = near_distance(target.shape, record.shape);
    if (!distance) continue;
    const auto config = config_from_json(nlohmann::json::parse(record.config_json), space.definition());
    if (config && space.point(*config)) near.emplace_back(*distance, record.config_json, *config);
  }
  std::sort(near.begin(), near.end(), [](const auto& a, const auto& b) {
    return std::tie(std::get<0>(a), std::get<1>(a)) < std::tie(std::get<0>(b), std::get<1>(b));
  });
  std::vector<Config> configs;
  for (auto& [distance, json, config] : near) {
    if (configs.size() == kMostNearRecords) break;
    if (std::find(configs.begin(), configs.end(), config) == configs.end())
      configs.push_back(std::move(config));
  }
  return configs;
}

}  // namespace attune::cli
