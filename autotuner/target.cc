#include "autotuner/target.h"

#include <nlohmann/json.hpp>

#include "autotuner/warm_start.h"

namespace attune {
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

std::vector<Config> start_configs(std::vector<Config> seeds, const TrialStore& store, const Packs& packs,
                                  const Target& target, const Space& space, const MeasurementPolicy& policy) {
  for (Config& config :
       warm_start(store, packs, target.shape, *target.tmpl, space, target.device.facts, policy)) {
    seeds.push_back(std::move(config));
  }
  return seeds;
}

}  // namespace attune
