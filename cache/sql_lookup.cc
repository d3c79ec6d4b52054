// Lookup over the store. Trials are fetched shape by shape, nearest first, and asked about one by one:
// the callback runs without the lock, and usually the first one answers.
#include <algorithm>
#include <tuple>

#include "cache/lookup.h"
#include "cache/sql_store.h"

namespace attune {

struct SqlStore::Question {
  const Shape& shape;
  const DeviceFacts& device;
  const MeasurementPolicy& policy;
  const std::function<bool(const Trial&)>& legal;
  LookupReach reach;
  std::int64_t refused = 0;  // trials that `legal` turned down
};

struct SqlStore::Tier {
  bool same_gpu = true;
  bool replayed = false;
};

struct SqlStore::NearbyShape {
  std::int64_t id = 0;
  double distance = 0;
  int differences = 0;  // layout and LSE: they break ties
  bool exact = false;
};

// Shapes with a verified trial on this arch that are this shape or near it, nearest first.
Result<std::vector<SqlStore::NearbyShape>> SqlStore::nearby_shapes(const Question& question) const {
  const Shape& asked = question.shape;
  const std::lock_guard lock(mutex_);
  std::vector<NearbyShape> found;
  const auto status = database_->query(
      "SELECT s.id, s.batch, s.q_heads, s.kv_heads, s.q_len, s.kv_len, s.mask, s.layout, s.lse FROM shapes s "
      "WHERE s.head_dim = ? AND s.dtype = ? AND EXISTS (SELECT 1 FROM trials t JOIN devices d ON d.id = "
      "t.device_id WHERE t.shape_id = s.id AND t.outcome = 'ok' AND t.policy = ? AND d.arch = ?)",
      {asked.head_dim, std::string(to_string(asked.dtype)), to_string(question.policy), question.device.arch},
      [&](const SqlRow& row) -> Status {
        Shape shape = asked;
        shape.batch = row.integer(1);
        shape.q_heads = row.integer(2);
        shape.kv_heads = row.integer(3);
        shape.q_len = row.integer(4);
        shape.kv_len = row.integer(5);
        auto mask = parse_mask(row.text(6));
        auto layout = parse_layout(row.text(7));
        if (!mask || !layout) return {};  // damaged by hand; attune cache verify tells
        shape.mask = *mask;
        shape.layout = *layout;
        shape.wants_lse = row.integer(8) != 0;
        const auto distance = near_distance(asked, shape);
        if (!distance || (question.reach == LookupReach::exact && !answers_exactly(asked, shape))) return {};
        const int differences = minor_differences(asked, shape);
        found.push_back({row.integer(0), *distance, differences, shape == asked});
        return {};
      });
  if (!status) return status.error();
  std::sort(found.begin(), found.end(), [](const NearbyShape& a, const NearbyShape& b) {
    return std::tuple(!a.exact, a.distance, a.differences, a.id) <
           std::tuple(!b.exact, b.distance, b.differences, b.id);
  });
  return found;
}

// The first legal trial of one tier (same GPU or not, replayed or not), fastest first. A few at a time by
// (tier, median, id): each page is a walk along the index trials_by_rank, and the callback runs between
// pages.
Result<std::optional<Trial>> SqlStore::first_legal(Question& question, std::int64_t shape_id,
                                                   const Tier& tier) const {
  const std::string page =
      kSelectTrials +
      "t.shape_id = ? AND t.outcome = 'ok' AND t.policy = ? AND t.replayed = ? AND d.arch = ? "
      "AND CASE WHEN d.name = ? THEN 1 ELSE 0 END = ?" +
      kNothingNewer +
      " AND (t.tier, t.median_us, t.id) > (?, ?, ?) ORDER BY t.tier, t.median_us, t.id LIMIT 8";
  std::int64_t after_tier = 0;
  double after_us = 0;
  std::int64_t after_id = 0;
  for (;;) {
    std::unique_lock lock(mutex_);
    auto trials =
        select(page, {shape_id, to_string(question.policy), std::int64_t{tier.replayed}, question.device.arch,
                      question.device.name, std::int64_t{tier.same_gpu}, after_tier, after_us, after_id});
    lock.unlock();
    if (!trials) return trials.error();
    if (trials->empty()) return std::optional<Trial>();
    for (Trial& trial : *trials) {
      if (!question.legal || question.legal(trial)) return std::optional<Trial>(std::move(trial));
      ++question.refused;
      after_tier = trial.final_round ? 0 : 1;
      after_us = trial.timing->median_us;
      after_id = trial.id;
    }
  }
}

Result<std::optional<Trial>> SqlStore::first_legal(Question& question, std::int64_t shape_id) const {
  for (const Tier& tier : {Tier{true, false}, Tier{true, true}, Tier{false, false}, Tier{false, true}}) {
    auto trial = first_legal(question, shape_id, tier);
    if (!trial || *trial) return trial;
  }
  return std::optional<Trial>();
}

Result<LookupAnswer> SqlStore::lookup(const Shape& shape, const DeviceFacts& device,
                                      const MeasurementPolicy& policy, const std::string& nvrtc_version,
                                      const std::function<bool(const Trial&)>& legal,
                                      LookupReach reach) const {
  auto asked = validated(shape);
  if (!asked) return asked.error();
  Question question{*asked, device, policy, legal, reach};
  auto candidates = nearby_shapes(question);
  if (!candidates) return candidates.error();
  for (const NearbyShape& candidate : *candidates) {
    auto trial = first_legal(question, candidate.id);
    if (!trial) return trial.error();
    if (*trial) return answer_with(*std::move(*trial), *asked, candidate.distance, device, nvrtc_version);
  }
  LookupAnswer none;
  none.reason = fmt::format("nothing measured on {} ({}) for {}{}", device.arch, to_string(policy),
                            to_string(*asked), reach == LookupReach::near ? " or a shape near it" : "");
  if (question.refused > 0)
    none.reason += fmt::format("; {} trials were found but not usable here", question.refused);
  none.reason += "; attune tune measures it";
  return none;
}

}  // namespace attune
