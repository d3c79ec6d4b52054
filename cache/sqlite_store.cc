#include "cache/sqlite_store.h"

#include "base/time.h"
#include "cache/schema.h"
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

Result<std::unique_ptr<TrialStore>> open_sqlite_store(const std::filesystem::path& file,
                                                      const SqliteOptions& options) {
  auto connection = open_database(file, options);
  if (!connection) return connection.error();
  return std::unique_ptr<TrialStore>(std::make_unique<SqliteStore>(*std::move(connection)));
}

Status SqliteStore::check_writable() const {
  const std::string file = connection_->file().string();
  if (connection_->is_read_only()) return fail("database {}: is opened for reading only", file);
  if (connection_->is_gone()) {
    return fail(
        "database {}: was deleted or replaced while it was open; run the same command again to start a new "
        "one",
        file);
  }
  return {};
}

Status SqliteStore::add(Trial& trial) {
  if (auto status = prepare_trial(trial); !status)
    return fail("the trial was not stored: {}", status.error().message);
  const std::string hash = content_hash(trial);
  const std::lock_guard lock(mutex_);
  const auto store = [&]() -> Result<std::int64_t> {
    if (auto status = check_writable(); !status) return status.error();
    if (auto status = pacer_.choose(*connection_); !status) return status.error();
    auto transaction = Transaction::begin(*connection_);
    if (!transaction) return transaction.error();
    auto id = insert_trial(*connection_, trial, hash);
    if (!id) return id;
    if (auto status = transaction->commit(); !status) return status.error();
    // Deleted in between: the commit went to a file that no one can open any more.
    if (auto status = check_writable(); !status) return status.error();
    return id;
  };
  auto id = store();
  if (!id) return fail("the trial was not stored: {}", id.error().message);
  trial.id = *id;
  return {};
}

Result<std::int64_t> SqliteStore::add_new(const TrialSource& next) {
  const std::lock_guard lock(mutex_);
  if (auto status = check_writable(); !status) return status.error();
  if (auto status = pacer_.choose(*connection_); !status) return status.error();
  auto transaction = Transaction::begin(*connection_);
  if (!transaction) return transaction.error();
  std::int64_t added = 0;
  for (;;) {
    auto trial = next();
    if (!trial) return trial.error();
    if (!*trial) break;
    if (auto status = prepare_trial(**trial); !status) return status.error();
    const std::string hash = content_hash(**trial);
    auto known = connection_->integer("SELECT count(*) FROM trials WHERE content_hash = ?", {hash});
    if (!known) return known;
    if (*known != 0) continue;
    if (auto id = insert_trial(*connection_, **trial, hash); !id) return id;
    ++added;
  }
  if (auto status = transaction->commit(); !status) return status.error();
  if (auto status = check_writable(); !status) return status.error();
  return added;
}

Result<std::vector<Trial>> SqliteStore::select(const std::string& sql,
                                               const std::vector<SqlValue>& values) const {
  auto statement = connection_->prepare(sql, values);
  if (!statement) return statement.error();
  std::vector<Trial> trials;
  for (;;) {
    auto row = statement->step();
    if (!row) return row.error();
    if (!*row) return trials;
    auto trial = reader_.read(*statement);
    if (!trial) return fail("database {}: {}", connection_->file().string(), trial.error().message);
    trials.push_back(*std::move(trial));
  }
}

Result<std::vector<Trial>> SqliteStore::trials(const TrialFilter& filter) const {
  Where all = where(filter);
  const std::lock_guard lock(mutex_);
  all.values.emplace_back(filter.limit > 0 ? filter.limit : -1);
  return select(kSelectTrials + all.sql + " ORDER BY t.id LIMIT ?", all.values);
}

Status SqliteStore::visit(const TrialFilter& filter, const TrialVisitor& visitor) const {
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

Result<std::int64_t> SqliteStore::count(const TrialFilter& filter) const {
  Where all = where(filter);
  const std::lock_guard lock(mutex_);
  all.values.emplace_back(filter.limit > 0 ? filter.limit : -1);
  return connection_->integer(
      "SELECT count(*) FROM (SELECT 1 FROM trials t JOIN devices d ON d.id = t.device_id WHERE " + all.sql +
          " LIMIT ?)",
      all.values);
}

Result<std::optional<Trial>> SqliteStore::best(const TrialFilter& filter) const {
  const Where all = where(filter);
  const std::lock_guard lock(mutex_);
  auto found = select(kSelectTrials + all.sql + " AND t.outcome = 'ok'" + kNothingNewer +
                          " ORDER BY t.tier, t.median_us, t.id LIMIT 1",
                      all.values);
  if (!found) return found.error();
  if (found->empty()) return std::optional<Trial>();
  return std::optional<Trial>(std::move(found->front()));
}

Result<std::vector<Trial>> SqliteStore::records(const TrialFilter& filter) const {
  Where all = where(filter);
  const std::lock_guard lock(mutex_);
  const std::string winners =
      "SELECT id FROM (SELECT t.id, row_number() OVER (PARTITION BY t.shape_id, d.name, d.arch, d.sm_count, "
      "t.policy, "
      "t.replayed ORDER BY t.tier, t.median_us, t.id) AS place FROM trials t JOIN devices d ON d.id = "
      "t.device_id "
      "WHERE " +
      all.sql + " AND t.outcome = 'ok'" + kNothingNewer + ") WHERE place = 1";
  all.values.emplace_back(filter.limit > 0 ? filter.limit : -1);
  return select(kSelectTrials + "t.id IN (" + winners + ") ORDER BY t.shape_id, t.id LIMIT ?", all.values);
}

}  // namespace attune
