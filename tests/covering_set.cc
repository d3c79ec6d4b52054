#include "tests/covering_set.h"

#include <set>
#include <string>
#include <utility>

namespace attune {

std::vector<Config> covering_set(const Space& space, Rng& rng) {
  std::set<std::pair<std::string, std::string>> covered;
  std::vector<Config> configs;
  for (const Axis& axis : space.axes()) {
    for (const AxisValue& value : axis.values) {
      if (covered.contains({axis.name, to_string(value)})) continue;
      const auto narrowed = space.restricted({{axis.name, {to_string(value)}}});
      if (!narrowed || narrowed->count() == 0) continue;
      // An axis that is inactive in the draw does not take the value: a few draws find it active.
      for (int tries = 0; tries < 100; ++tries) {
        const Config config = narrowed->config(narrowed->sample(rng));
        if (!config.has(axis.name)) continue;
        for (const auto& [name, taken] : config.values()) covered.insert({name, to_string(taken)});
        configs.push_back(config);
        break;
      }
    }
  }
  return configs;
}

}  // namespace attune
