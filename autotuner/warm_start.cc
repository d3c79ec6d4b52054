#include "autotuner/warm_start.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "cache/lookup.h"

namespace attune {
namespace {

constexpr std::size_t kMostStarts = 4;

struct Near {
  double distance;
  double median_us;
  std::string config_json;
};

}  // namespace

std::vector<Config> warm_start(const TrialStore& store, const Packs& packs, const Shape& shape,
                               const AttentionTemplate& tmpl, const Space& space, const DeviceFacts& device,
                               const MeasurementPolicy& policy) {
  std::vector<Near> found;
  const auto consider = [&](const Trial& record) {
    if (record.template_name != tmpl.name() || record.device.arch != device.arch || record.policy != policy)
      return;
    const auto distance = near_distance(shape, record.shape);
    if (distance) found.push_back({*distance, record.timing->median_us, record.config_json});
  };
  TrialFilter filter;
  filter.template_name = tmpl.name();
  filter.arch = device.arch;
  filter.policy = policy;
  if (const auto records = store.records(filter)) {
    for (const Trial& record : *records) {
      const bool own =
          record.shape == shape && record.template_hash == tmpl.hash() && record.device.name == device.name;
      if (!own) consider(record);
    }
  }
  for (const auto& pack : packs) {
    for (const Trial& record : pack->records) consider(record);
  }
  std::stable_sort(found.begin(), found.end(), [](const Near& a, const Near& b) {
    return std::pair(a.distance, a.median_us) < std::pair(b.distance, b.median_us);
  });
  std::vector<Config> configs;
  std::set<std::string> taken;
  for (const Near& near : found) {
    if (configs.size() == kMostStarts) break;
    const auto config =
        config_from_json(nlohmann::json::parse(near.config_json, nullptr, false), space.definition());
    if (!config || !space.point(*config) || !taken.insert(near.config_json).second) continue;
    configs.push_back(*config);
  }
  return configs;
}

}  // namespace attune
