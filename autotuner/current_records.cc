#include "autotuner/current_records.h"

#include <algorithm>
#include <tuple>

namespace attune {
namespace {

bool same_question(const Trial& a, const Trial& b) {
  return a.shape == b.shape && a.device.name == b.device.name && a.device.arch == b.device.arch &&
         a.device.sm_count == b.device.sm_count && a.policy == b.policy;
}

// Measured before replayed, a final round before a search, then the fastest.
bool better(const Trial& a, const Trial& b) {
  return std::tuple(a.replayed, !a.final_round, a.timing->median_us) <
         std::tuple(b.replayed, !b.final_round, b.timing->median_us);
}

}  // namespace

Result<std::vector<Trial>> current_records(const TrialStore& store, TrialFilter filter) {
  std::vector<Trial> best;
  for (const AttentionTemplate* tmpl : attention_templates()) {
    filter.template_name = tmpl->name();
    filter.template_hash = tmpl->hash();
    auto records = store.records(filter);
    if (!records) return records;
    for (Trial& record : *records) {
      const auto known = std::find_if(best.begin(), best.end(),
                                      [&](const Trial& trial) { return same_question(trial, record); });
      if (known == best.end()) {
        best.push_back(std::move(record));
      } else if (better(record, *known)) {
        *known = std::move(record);
      }
    }
  }
  return best;
}

bool serves(const Trial& trial, const Shape& shape, const DeviceFacts& device) {
  const auto tmpl = find_template(trial.template_name);
  return tmpl && (*tmpl)->hash() == trial.template_hash &&
         servable_config(**tmpl, trial.config_json, shape, device).has_value();
}

bool served_before(const Trial& trial, const Shape& shape, const DeviceFacts& device) {
  const auto tmpl = find_template(trial.template_name);
  return tmpl && (*tmpl)->hash() != trial.template_hash &&
         servable_config(**tmpl, trial.config_json, shape, device).has_value();
}

}  // namespace attune
