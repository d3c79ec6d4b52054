// What a search, a lookup or a compile is about: a shape, on a device, through a template.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "autotuner/device_choice.h"
#include "autotuner/space.h"
#include "base/result.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "templates/attention_template.h"

namespace attune {

struct Target {
  Shape shape;
  DeviceChoice device;
  const AttentionTemplate* tmpl = nullptr;
};

// The template of that name; "": that of the device's recording where it has one, else the first that
// supports the shape.
Result<const AttentionTemplate*> choose_template(const std::string& name, const Shape& shape,
                                                 const DeviceChoice& device);

// The configs to search: the template's legal ones, of a recording those it holds, of these the allowed ones.
Result<Space> search_space(const Target& target,
                           const std::map<std::string, std::vector<std::string>>& allowed);

// The keys that every answer about a target starts with: shape, device, template, replayed, recording.
nlohmann::json to_json(const Target& target);

// The best configs of the nearest other shapes on this kind of device that are in the space, nearest first.
Result<std::vector<Config>> near_records(const TrialStore& store, const Target& target, const Space& space,
                                         const MeasurementPolicy& policy);

// What a search tries first: `seeds`, then what won on this and near shapes in packs, then near_records().
Result<std::vector<Config>> start_configs(std::vector<Config> seeds, const TrialStore& store,
                                          const Packs& packs, const Target& target, const Space& space,
                                          const MeasurementPolicy& policy);

}  // namespace attune
