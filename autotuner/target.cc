#include "autotuner/target.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "autotuner/warm_start.h"
#include "cache/lookup.h"

namespace attune {
namespace {

constexpr std::size_t kMostNearRecords = 3;
constexpr std::size_t kPackSeeds = 3;  // configs of packs that a search starts from

}  // namespace

Result<const AttentionTemplate*> choose_template(const std::string& name, const Shape& shape,
                                                 const DeviceChoice& device) {
  if (name.empty() && !device.recording) return default_template(shape, device.facts);
  // A recording holds trials of one template.
  const auto found = find_template(name.empty() ? device.recording->info.template_name : name);
  if (!found) return found.error();
  if (const auto status = (*found)->supports(shape, device.facts); !status) return status.error();
  return found;
}

Result<Space> search_space(const Target& target,
                           const std::map<std::string, std::vector<std::string>>& allowed) {
  const Space whole(target.tmpl->space(target.shape, target.device.facts));
  if (!target.device.recording) return whole.restricted(allowed);
  const auto recorded = recorded_space(whole, *target.device.recording);
  if (!recorded) return recorded.error();
  return recorded->restricted(allowed);
}

nlohmann::json to_json(const Target& target) {
  nlohmann::json json = {{"shape", to_json(target.shape)},
                         {"device", to_json(target.device.facts)},
                         {"template", target.tmpl->name()},
                         {"replayed", target.device.recording != nullptr}};
  if (target.device.recording) {
    json["recording"] = target.device.recording->info.name;
    json["recorded_at"] = target.device.recording->info.recorded_at;
    json["notice"] = replay_notice(target.device, target.tmpl->hash());
  }
  return json;
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

Result<std::vector<Config>> start_configs(std::vector<Config> seeds, const TrialStore& store,
                                          const Packs& packs, const Target& target, const Space& space,
                                          const MeasurementPolicy& policy) {
  for (Config& config : warm_start(nullptr, packs, target.shape, *target.tmpl, space, target.device.facts,
                                   policy, kPackSeeds)) {
    seeds.push_back(std::move(config));
  }
  auto near = near_records(store, target, space, policy);
  if (!near) return near.error();
  for (Config& config : *near) seeds.push_back(std::move(config));
  return seeds;
}

}  // namespace attune
