// Small random spaces for property tests: conditional axes, rules over them, all from a seed.
#pragma once

#include <string>

#include "autotuner/space.h"

namespace attune::testing_spaces {

inline std::int64_t value_number(const Config& config, const std::string& axis) {
  return config.has(axis) ? config.integer(axis) : -1;
}

inline SpaceDefinition random_definition(std::uint64_t seed, std::size_t axes = 6,
                                         std::uint64_t max_values = 4, std::size_t rules = 3) {
  Rng rng(seed);
  SpaceDefinition definition;
  for (std::size_t i = 0; i < axes; ++i) {
    Axis axis{"a" + std::to_string(i), "/a" + std::to_string(i), {}, "an axis"};
    const std::uint64_t values = 1 + uniform_below(rng, max_values);
    for (std::uint64_t v = 0; v < values; ++v) axis.values.emplace_back(static_cast<std::int64_t>(v));
    if (i > 0 && uniform_below(rng, 3) == 0) {
      const std::string on = "a" + std::to_string(uniform_below(rng, i));
      const auto least = static_cast<std::int64_t>(uniform_below(rng, 3));
      axis.depends_on = {on};
      axis.active = [on, least](const Config& config) { return value_number(config, on) >= least; };
    }
    definition.axes.push_back(std::move(axis));
  }
  for (std::size_t r = 0; r < rules; ++r) {
    std::vector<std::string> reads;
    for (std::uint64_t k = 1 + uniform_below(rng, 3); k > 0; --k) {
      reads.push_back("a" + std::to_string(uniform_below(rng, axes)));
    }
    const auto modulus = static_cast<std::int64_t>(2 + uniform_below(rng, 3));
    definition.rules.push_back({"rule " + std::to_string(r), reads,
                                [reads, modulus](const Config& config) -> std::optional<std::string> {
                                  std::int64_t sum = 0;
                                  for (const std::string& name : reads) sum += value_number(config, name) + 1;
                                  if (sum % modulus != 0) return std::nullopt;
                                  return "the sum " + std::to_string(sum) + " is a multiple";
                                }});
  }
  return definition;
}

}  // namespace attune::testing_spaces
