#include "dashboard/data.h"

#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <vector>

#include "base/time.h"
#include "dashboard/trial_columns.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

using nlohmann::json;

// The default config's time to compare a record with: taken side by side in the record's own final round,
// else in its run, else the newest. Nothing where it was never timed under the record's conditions.
Result<std::optional<Trial>> default_for(const TrialStore& store, const Trial& record) {
  const std::string hash = default_config_hash(record);
  if (hash.empty()) return std::optional<Trial>();
  const auto trials = store.trials({.shape = record.shape,
                                    .template_hash = record.template_hash,
                                    .gpu_name = record.device.name,
                                    .replayed = record.replayed,
                                    .policy = record.policy,
                                    .config_hash = hash});
  if (!trials) return trials.error();
  const auto rank = [&](const Trial& trial) {
    const bool same_run = trial.session == record.session,
               same_tier = trial.final_round == record.final_round;
    return std::tuple(same_run && same_tier, same_run, same_tier, trial.id);
  };
  std::optional<Trial> best;
  for (const Trial& trial : *trials) {
    if (!trial.timing || trial.device.sm_count != record.device.sm_count) continue;
    if (!best || rank(trial) > rank(*best)) best = trial;
  }
  return best;
}

Result<json> record_json(const TrialStore& store, const Trial& record, bool overall) {
  const auto standard = default_for(store, record);
  if (!standard) return standard.error();
  const auto tmpl = find_template(record.template_name);
  json row{{"id", record.id},
           {"overall", overall},
           {"current", tmpl && (*tmpl)->hash() == record.template_hash},
           {"default_us", nullptr}};
  if (*standard) row["default_us"] = (*standard)->timing->median_us;
  return row;
}

// The best of each (shape, device, policy, replayed), and beside it the best of each template.
Result<json> records_json(const TrialStore& store, const TrialFilter& filter) {
  json rows = json::array();
  std::set<std::int64_t> listed;
  const auto add = [&](const std::vector<Trial>& records, bool overall) -> Status {
    for (const Trial& record : records) {
      if (!listed.insert(record.id).second) continue;
      auto row = record_json(store, record, overall);
      if (!row) return row.error();
      rows.push_back(*std::move(row));
    }
    return {};
  };
  const auto overall = store.records(filter);
  if (!overall) return overall.error();
  if (auto status = add(*overall, true); !status) return status.error();
  for (const AttentionTemplate* tmpl : attention_templates()) {
    TrialFilter of_template = filter;
    if (!filter.template_name.empty()) break;
    of_template.template_name = tmpl->name();
    const auto records = store.records(of_template);
    if (!records) return records.error();
    if (auto status = add(*records, false); !status) return status.error();
  }
  return rows;
}

}  // namespace

Result<json> dashboard_data(const TrialStore& store, const TrialFilter& filter) {
  TrialColumns columns;
  auto status = store.visit(filter, [&](const Trial& trial) -> Status {
    columns.add(trial);
    return {};
  });
  if (!status) return status.error();
  TrialFilter any_age = filter;
  any_age.after_id = 0;
  auto records = records_json(store, any_age);
  if (!records) return records;
  return json{{"format", "attune-dashboard"},
              {"version", 1},
              {"generated_at", utc_timestamp()},
              {"trials", columns.to_json()},
              {"records", *std::move(records)}};
}

}  // namespace attune
