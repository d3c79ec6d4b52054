// Lookup over the SQLite store. Trials are fetched shape by shape, nearest first, and asked about one by one:
// the callback runs without the lock, and usually the first one answers.
#include <algorithm>
#include <tuple>

#include "cache/lookup.h"
#include "cache/sqlite_store.h"

namespace attune {

struct SqliteStore::Question {
  const Shape& shape;
  const DeviceFacts& device;
  const MeasurementPolicy& policy;
  const std::function<bool(const Trial&)>& legal;
  std::int64_t refused = 0;  // trials that `legal` turned down
};

struct SqliteStore::NearbyShape {
  std::int64_t id = 0;
  double distance = 0;
  int differences = 0;  // layout and LSE: they break ties
  bool exact = false;
};

namespace {

std::string describe(const Trial& trial) {
  return fmt::format("{} us on {}{}, {}", trial.timing ? trial.timing->median_us : 0, trial.device.name,
                     trial.replayed ? " (replayed from a recording)" : "", trial.created_at);
}

LookupAnswer answer_with(Trial trial, const Shape& asked, double distance, const DeviceFacts& device,
                         const std::string& nvrtc_version) {
  LookupAnswer answer;
  answer.provenance = trial.shape == asked ? Provenance::exact : Provenance::near;
  answer.distance = distance;
  const std::string changed = staleness(trial, device, nvrtc_version);
  answer.stale = !changed.empty();
  answer.reason =
      answer.provenance == Provenance::exact
          ? fmt::format("measured for this shape: {}", describe(trial))
          : fmt::format("nothing measured for this shape; the nearest is {} (distance {:.2f}): {}",
                        to_string(trial.shape), distance, describe(trial));
  if (trial.device.name != device.name) answer.reason += fmt::format("; another {} GPU", device.arch);
  if (answer.stale) answer.reason += fmt::format("; stale: {}", changed);
  answer.record = std::move(trial);
  return answer;
}

}  // namespace

// Shapes with a verified trial on this arch that are this shape or near it, nearest first.
Result<std::vector<SqliteStore::NearbyShape>> SqliteStore::nearby_shapes(const Question& question) const {
  const Shape& asked = question.shape;
  const std::lock_guard lock(mutex_);
  auto statement = connection_->prepare(
      "SELECT s.id, s.batch, s.q_heads, s.kv_heads, s.q_len, s.kv_len, s.mask, s.layout, s.lse FROM shapes s "
      "WHERE s.head_dim = ? AND s.dtype = ? AND EXISTS (SELECT 1 FROM trials t JOIN devices d ON d.id = "
      "t.device_id "
      "WHERE t.shape_id = s.id AND t.outcome = 'ok' AND t.policy = ? AND d.arch = ?)",
      {asked.head_dim, std::string(to_string(asked.dtype)), to_string(question.policy),
       question.device.arch});
  if (!statement) return statement.error();
  std::vector<NearbyShape> found;
  for (;;) {
    auto row = statement->step();
    if (!row) return row.error();
    if (!*row) break;
    Shape shape = asked;
    shape.batch = statement->integer(1);
    shape.q_heads = statement->integer(2);
    shape.kv_heads = statement->integer(3);
    shape.q_len = statement->integer(4);
    shape.kv_len = statement->integer(5);
    auto mask = parse_mask(statement->text(6));
    auto layout = parse_layout(statement->text(7));
    if (!mask || !layout) continue;  // damaged by hand; attune cache verify tells
    shape.mask = *mask;
    shape.layout = *layout;
    shape.wants_lse = statement->integer(8) != 0;
    const auto distance = near_distance(asked, shape);
    if (!distance) continue;
    const int differences = 2 * (shape.layout != asked.layout) + (shape.wants_lse != asked.wants_lse);
    found.push_back({statement->integer(0), *distance, differences, shape == asked});
  }
  std::sort(found.begin(), found.end(), [](const NearbyShape& a, const NearbyShape& b) {
    return std::tuple(!a.exact, a.distance, a.differences, a.id) <
           std::tuple(!b.exact, b.distance, b.differences, b.id);
  });
  return found;
}

// The trials that may answer for a shape: same GPU first, then measured here rather than replayed, then
// fastest.
Result<std::vector<std::int64_t>> SqliteStore::ranked_trials(const Question& question,
                                                             std::int64_t shape_id) const {
  const std::lock_guard lock(mutex_);
  auto statement = connection_->prepare(
      "SELECT t.id FROM trials t JOIN devices d ON d.id = t.device_id WHERE t.shape_id = ? AND t.outcome = "
      "'ok' "
      "AND t.policy = ? AND d.arch = ?" +
          kNothingNewer + " ORDER BY d.name <> ?, t.replayed, t.median_us, t.id",
      {shape_id, to_string(question.policy), question.device.arch, question.device.name});
  if (!statement) return statement.error();
  std::vector<std::int64_t> ids;
  for (;;) {
    auto row = statement->step();
    if (!row) return row.error();
    if (!*row) return ids;
    ids.push_back(statement->integer(0));
  }
}

Result<std::optional<Trial>> SqliteStore::first_legal(Question& question, std::int64_t shape_id) const {
  auto ids = ranked_trials(question, shape_id);
  if (!ids) return ids.error();
  for (const std::int64_t id : *ids) {
    std::unique_lock lock(mutex_);
    auto found = select(kSelectTrials + "t.id = ?", {id});
    lock.unlock();
    if (!found) return found.error();
    if (found->empty()) continue;  // removed by another process meanwhile
    if (!question.legal || question.legal(found->front()))
      return std::optional<Trial>(std::move(found->front()));
    ++question.refused;
  }
  return std::optional<Trial>();
}

Result<LookupAnswer> SqliteStore::lookup(const Shape& shape, const DeviceFacts& device,
                                         const MeasurementPolicy& policy, const std::string& nvrtc_version,
                                         const std::function<bool(const Trial&)>& legal) const {
  auto asked = validated(shape);
  if (!asked) return asked.error();
  Question question{*asked, device, policy, legal};
  auto candidates = nearby_shapes(question);
  if (!candidates) return candidates.error();
  for (const NearbyShape& candidate : *candidates) {
    auto trial = first_legal(question, candidate.id);
    if (!trial) return trial.error();
    if (*trial) return answer_with(*std::move(*trial), *asked, candidate.distance, device, nvrtc_version);
  }
  LookupAnswer none;
  none.reason = fmt::format("nothing measured on {} ({}) for {} or a shape near it", device.arch,
                            to_string(policy), to_string(*asked));
  if (question.refused > 0)
    none.reason += fmt::format("; {} trials were found but not usable here", question.refused);
  none.reason += "; attune tune measures it";
  return none;
}

}  // namespace attune
