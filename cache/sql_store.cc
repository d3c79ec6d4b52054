#include "cache/sql_store.h"

#include <algorithm>

#include "base/time.h"
#include "cache/trial_json.h"

namespace attune {
namespace {

constexpr std::int64_t kVisitBatch = 500;

// The shape under its one name and a time, then everything that must hold.
Status prepare_trial(Trial& trial) {
  auto shape = validated(trial.shape);
  if (!shape) return shape.error();
  trial.shape = *shape;
  if (trial.created_at.empty()) trial.created_at = utc_timestamp();
  return check_trial(trial);
}

}  // namespace

std::string_view to_string(Provenance provenance) {
  switch (provenance) {
    case Provenance::exact:
      return "exact";
    case Provenance::near:
      return "near";
    case Provenance::none:
      return "none";
  }
  return "none";
}

Status SqlStore::add(Trial& trial) {
  if (auto status = prepare_trial(trial); !status)
    return fail("the trial was not stored: {}", status.error().message);
  const std::string hash = content_hash(trial);
  const std::lock_guard lock(mutex_);
  std::int64_t id = 0;
  const auto stored = database_->transact(SqlDatabase::Extent::one, [&]() -> Status {
    const auto added = TrialWriter(*database_).add(trial, hash);
    if (!added) return added.error();
    id = *added;
    return {};
  });
  if (!stored) return fail("the trial was not stored: {}", stored.error().message);
  trial.id = id;
  return {};
}

Result<std::int64_t> SqlStore::add_new(const TrialSource& next) {
  const std::lock_guard lock(mutex_);
  std::int64_t added = 0;
  const auto stored = database_->transact(SqlDatabase::Extent::bulk, [&]() -> Status {
    TrialWriter writer(*database_);
    for (;;) {
      auto trial = next();
      if (!trial) return trial.error();
      if (!*trial) return {};
      if (auto status = prepare_trial(**trial); !status) return status.error();
      const auto is_new = writer.add_new(**trial, content_hash(**trial));
      if (!is_new) return is_new.error();
      added += *is_new;
    }
  });
  if (!stored) return stored.error();
  return added;
}

Result<std::vector<Trial>> SqlStore::select(const std::string& sql,
                                            const std::vector<SqlValue>& values) const {
  std::vector<Trial> trials;
  const auto status = database_->query(sql, values, [&](const SqlRow& row) -> Status {
    auto trial = reader_.read(row);
    if (!trial) return fail("{}: {}", database_->name(), trial.error().message);
    trials.push_back(*std::move(trial));
    return {};
  });
  if (!status) return status.error();
  return trials;
}

Result<std::vector<Trial>> SqlStore::trials(const TrialFilter& filter) const {
  Where all = where(filter);
  const std::lock_guard lock(mutex_);
  all.values.emplace_back(filter.limit > 0 ? filter.limit : kNoLimit);
  return select(kSelectTrials + all.sql + " ORDER BY t.id LIMIT ?", all.values);
}

Status SqlStore::visit(const TrialFilter& filter, const TrialVisitor& visitor) const {
  std::int64_t last = 0;
  std::int64_t left = filter.limit > 0 ? filter.limit : -1;
  while (left != 0) {
    Where rest = where(filter);
    rest.also("t.id > ?", last);
    rest.values.emplace_back(left < 0 ? kVisitBatch : std::min(left, kVisitBatch));
    std::unique_lock lock(mutex_);
    auto batch = select(kSelectTrials + rest.sql + " ORDER BY t.id LIMIT ?", rest.values);
    lock.unlock();
    if (!batch) return batch.error();
    if (batch->empty()) break;
    for (const Trial& trial : *batch) {
      if (auto status = visitor(trial); !status) return status;
    }
    last = batch->back().id;
    if (left > 0) left -= static_cast<std::int64_t>(batch->size());
  }
  return {};
}

Result<std::int64_t> SqlStore::count(const TrialFilter& filter) const {
  Where all = where(filter);
  const std::lock_guard lock(mutex_);
  all.values.emplace_back(filter.limit > 0 ? filter.limit : kNoLimit);
  return integer_of(
      *database_,
      "SELECT count(*) FROM (SELECT 1 FROM trials t JOIN devices d ON d.id = t.device_id WHERE " + all.sql +
          " LIMIT ?) AS found",
      all.values);
}

Result<std::optional<Trial>> SqlStore::best(const TrialFilter& filter) const {
  const Where all = where(filter);
  const std::lock_guard lock(mutex_);
  auto found = select(kSelectTrials + all.sql + " AND t.outcome = 'ok'" + kNothingNewer +
                          " ORDER BY t.tier, t.median_us, t.id LIMIT 1",
                      all.values);
  if (!found) return found.error();
  if (found->empty()) return std::optional<Trial>();
  return std::optional<Trial>(std::move(found->front()));
}

Result<std::vector<Trial>> SqlStore::records(const TrialFilter& filter) const {
  Where all = where(filter);
  const std::lock_guard lock(mutex_);
  const std::string winners =
      "SELECT id FROM (SELECT t.id, row_number() OVER (PARTITION BY t.shape_id, d.name, d.arch, d.sm_count, "
      "t.policy, "
      "t.replayed ORDER BY t.tier, t.median_us, t.id) AS place FROM trials t JOIN devices d ON d.id = "
      "t.device_id "
      "WHERE " +
      all.sql + " AND t.outcome = 'ok'" + kNothingNewer + ") AS ranked WHERE place = 1";
  all.values.emplace_back(filter.limit > 0 ? filter.limit : kNoLimit);
  return select(kSelectTrials + "t.id IN (" + winners + ") ORDER BY t.shape_id, t.id LIMIT ?", all.values);
}

}  // namespace attune
