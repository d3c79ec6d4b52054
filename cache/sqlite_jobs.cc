// The embedded JobStore.
#include <map>
#include <mutex>

#include "base/time.h"
#include "cache/job_store.h"
#include "cache/schema.h"
#include "cache/sync_pacer.h"
#include "cache/trial_rows.h"

namespace attune {
namespace {

constexpr int kBusyTimeoutMs = 5000;

const std::string kColumns =
    "id, kind, request, client, priority, coalesce(idempotency_key, ''), state, message, result, starts, "
    "created_at, started_at, ended_at";

Result<Job> read_job(const Statement& row) {
  const auto state = parse_job_state(row.text(6));
  if (!state) return state.error();
  return Job{.id = row.integer(0),
             .kind = row.text(1),
             .request = row.text(2),
             .client = row.text(3),
             .priority = row.integer(4),
             .idempotency_key = row.text(5),
             .state = *state,
             .message = row.text(7),
             .result = row.text(8),
             .starts = row.integer(9),
             .created_at = row.text(10),
             .started_at = row.text(11),
             .ended_at = row.text(12)};
}

Result<std::vector<Job>> select_jobs(Connection& connection, const std::string& sql,
                                     const std::vector<SqlValue>& values) {
  auto statement = connection.prepare(sql, values);
  if (!statement) return statement.error();
  std::vector<Job> jobs;
  for (;;) {
    const auto row = statement->step();
    if (!row) return row.error();
    if (!*row) return jobs;
    auto job = read_job(*statement);
    if (!job) return fail("database {}: {}", connection.file().string(), job.error().message);
    jobs.push_back(*std::move(job));
  }
}

Result<std::optional<Job>> find_job(Connection& connection, std::int64_t id) {
  auto found = select_jobs(connection, "SELECT " + kColumns + " FROM jobs WHERE id = ?", {id});
  if (!found) return found.error();
  if (found->empty()) return std::optional<Job>();
  return std::optional<Job>(std::move(found->front()));
}

Status run(Connection& connection, const std::string& sql, const std::vector<SqlValue>& values) {
  auto statement = connection.prepare(sql, values);
  if (!statement) return statement.error();
  return statement->run();
}

// Part of the caller's transaction.
Status append_state(Connection& connection, std::int64_t id, JobState state) {
  return run(
      connection,
      "INSERT INTO job_events (job_id, seq, kind, detail, trial_id, best_us, at) VALUES "
      "(?, (SELECT coalesce(max(seq), 0) + 1 FROM job_events WHERE job_id = ?), 'state', ?, NULL, NULL, ?)",
      {id, id, std::string(to_string(state)), utc_timestamp()});
}

class SqliteJobStore final : public JobStore {
 public:
  SqliteJobStore(std::unique_ptr<Connection> writer, std::unique_ptr<Connection> reader)
      : writer_(std::move(writer)), reader_(std::move(reader)) {}

  Result<Submission> submit(const Job& job, const JobLimits& limits) override {
    Submission submission;
    const auto status = write([&]() -> Status {
      if (!job.idempotency_key.empty()) {
        auto known = select_jobs(*writer_,
                                 "SELECT " + kColumns + " FROM jobs WHERE client = ? AND idempotency_key = ?",
                                 {job.client, job.idempotency_key});
        if (!known) return known.error();
        if (!known->empty()) {
          submission.job = std::move(known->front());
          submission.verdict = submission.job.request == job.request && submission.job.kind == job.kind
                                   ? Submission::Verdict::repeated
                                   : Submission::Verdict::key_reused;
          return {};
        }
      }
      if (auto full = check_limits(job.client, limits, submission.verdict); !full) return full;
      if (submission.verdict != Submission::Verdict::accepted) return {};
      return insert(job, submission.job);
    });
    if (!status) return status.error();
    return submission;
  }

  Result<std::optional<Job>> job(std::int64_t id) const override {
    const std::lock_guard lock(reading_);
    return find_job(*reader_, id);
  }

  Result<std::vector<Job>> jobs(const JobFilter& filter) const override {
    std::string sql =
        "SELECT id, kind, CASE WHEN length(request) <= 4096 THEN request ELSE '' END, client, priority, "
        "coalesce(idempotency_key, ''), state, message, '', starts, created_at, started_at, ended_at FROM "
        "jobs "
        "WHERE 1 = 1";
    std::vector<SqlValue> values;
    if (filter.state) {
      sql += " AND state = ?";
      values.emplace_back(std::string(to_string(*filter.state)));
    }
    if (!filter.client.empty()) {
      sql += " AND client = ?";
      values.emplace_back(filter.client);
    }
    if (filter.before > 0) {
      sql += " AND id < ?";
      values.emplace_back(filter.before);
    }
    values.emplace_back(filter.limit);
    const std::lock_guard lock(reading_);
    return select_jobs(*reader_, sql + " ORDER BY id DESC LIMIT ?", values);
  }

  Result<std::vector<Job>> queued() const override {
    const std::lock_guard lock(reading_);
    return select_jobs(*reader_,
                       "SELECT id, kind, '', client, priority, '', state, '', '', starts, created_at, "
                       "started_at, ended_at FROM jobs WHERE state = 'queued' ORDER BY id",
                       {});
  }

  Result<std::map<JobState, std::int64_t>> counts() const override {
    const std::lock_guard lock(reading_);
    auto statement = reader_->prepare("SELECT state, count(*) FROM jobs GROUP BY state");
    if (!statement) return statement.error();
    std::map<JobState, std::int64_t> counts;
    for (;;) {
      const auto row = statement->step();
      if (!row) return row.error();
      if (!*row) return counts;
      const auto state = parse_job_state(statement->text(0));
      if (!state) return state.error();
      counts[*state] = statement->integer(1);
    }
  }

  Result<bool> start(std::int64_t id) override {
    bool started = false;
    const auto status = write([&]() -> Status {
      auto changed = run(*writer_,
                         "UPDATE jobs SET state = 'running', starts = starts + 1, started_at = ? "
                         "WHERE id = ? AND state = 'queued'",
                         {utc_timestamp(), id});
      if (!changed) return changed;
      started = writer_->changes() == 1;
      return started ? append_state(*writer_, id, JobState::running) : Status();
    });
    if (!status) return status.error();
    return started;
  }

  Status put_back(std::int64_t id) override {
    return write([&]() -> Status {
      const auto job = find_job(*writer_, id);
      if (!job) return job.error();
      return *job ? put_back_one(**job) : Status();
    });
  }

  Result<std::int64_t> put_back_all() override {
    std::int64_t count = 0;
    const auto status = write([&]() -> Status {
      const auto left = select_jobs(
          *writer_, "SELECT " + kColumns + " FROM jobs WHERE state IN ('running', 'cancelling') ORDER BY id",
          {});
      if (!left) return left.error();
      for (const Job& job : *left) {
        if (auto done = put_back_one(job); !done) return done;
      }
      count = static_cast<std::int64_t>(left->size());
      return {};
    });
    if (!status) return status.error();
    return count;
  }

  Result<std::optional<Job>> cancel(std::int64_t id, const std::string& message) override {
    std::optional<Job> result;
    const auto status = write([&]() -> Status {
      auto job = find_job(*writer_, id);
      if (!job) return job.error();
      result = *std::move(job);
      if (!result) return {};
      if (result->state == JobState::queued) {
        if (auto done = end(id, JobState::cancelled, message, ""); !done) return done;
      } else if (result->state == JobState::running) {
        auto done =
            run(*writer_, "UPDATE jobs SET state = 'cancelling', message = ? WHERE id = ?", {message, id});
        if (!done) return done;
        if (auto told = append_state(*writer_, id, JobState::cancelling); !told) return told;
      }
      auto now = find_job(*writer_, id);
      if (!now) return now.error();
      result = *std::move(now);
      return {};
    });
    if (!status) return status.error();
    return result;
  }

  Status finish(std::int64_t id, JobState state, const std::string& message,
                const std::string& result) override {
    return write([&]() -> Status {
      const auto job = find_job(*writer_, id);
      if (!job) return job.error();
      if (!*job || has_ended((*job)->state)) return {};
      return end(id, state, message, result);
    });
  }

  Result<bool> add_trial(std::int64_t id, std::int64_t trial_id, std::optional<double> best_us) override {
    bool added = false;
    const auto status = write([&]() -> Status {
      auto done =
          run(*writer_,
              "INSERT INTO job_events (job_id, seq, kind, detail, trial_id, best_us, at) VALUES "
              "(?, (SELECT coalesce(max(seq), 0) + 1 FROM job_events WHERE job_id = ?), 'trial', '', ?, "
              "?, ?) ON CONFLICT (job_id, trial_id) DO NOTHING",
              {id, id, trial_id, best_us ? SqlValue(*best_us) : SqlValue(), utc_timestamp()});
      added = done && writer_->changes() == 1;
      return done;
    });
    if (!status) return status.error();
    return added;
  }

  Result<std::vector<JobEvent>> events(std::int64_t id, std::int64_t seq, std::int64_t limit,
                                       bool trials_only) const override {
    const std::lock_guard lock(reading_);
    auto events = select_events(id, seq, limit, trials_only);
    if (!events) return events;
    if (events->empty()) return events;
    auto trials = reader_->prepare(kSelectTrials +
                                       "t.id IN (SELECT trial_id FROM job_events WHERE job_id = ? AND seq "
                                       "BETWEEN ? AND ?)",
                                   {id, events->front().seq, events->back().seq});
    if (!trials) return trials.error();
    std::map<std::int64_t, Trial> by_id;
    for (;;) {
      const auto row = trials->step();
      if (!row) return row.error();
      if (!*row) break;
      auto trial = rows_.read(*trials);
      if (!trial) return fail("database {}: {}", reader_->file().string(), trial.error().message);
      by_id.emplace(trial->id, *std::move(trial));
    }
    for (JobEvent& event : *events) {
      if (const auto found = by_id.find(event.trial_id); found != by_id.end()) event.trial = found->second;
    }
    return events;
  }

 private:
  // One transaction.
  template <class Change>
  Status write(const Change& change) {
    const std::lock_guard lock(writing_);
    if (writer_->is_gone()) {
      return fail("database {}: was deleted or replaced while it was open; start the server again",
                  writer_->file().string());
    }
    if (auto status = pacer_.choose(*writer_); !status) return status;
    auto transaction = Transaction::begin(*writer_);
    if (!transaction) return transaction.error();
    if (Status status = change(); !status) return status;
    return transaction->commit();
  }

  // Writing, below: parts of a transaction.

  Status check_limits(const std::string& client, const JobLimits& limits, Submission::Verdict& verdict) {
    if (limits.queued > 0) {
      const auto all = writer_->integer("SELECT count(*) FROM jobs WHERE state = 'queued'");
      if (!all) return all.error();
      if (*all >= limits.queued) verdict = Submission::Verdict::server_full;
    }
    if (limits.queued_of_client > 0) {
      const auto own =
          writer_->integer("SELECT count(*) FROM jobs WHERE state = 'queued' AND client = ?", {client});
      if (!own) return own.error();
      if (*own >= limits.queued_of_client) verdict = Submission::Verdict::client_full;
    }
    return {};
  }

  Status insert(const Job& job, Job& stored) {
    const SqlValue key = job.idempotency_key.empty() ? SqlValue() : SqlValue(job.idempotency_key);
    auto done = run(*writer_,
                    "INSERT INTO jobs (kind, request, client, priority, idempotency_key, state, message, "
                    "result, starts, created_at, started_at, ended_at) "
                    "VALUES (?, ?, ?, ?, ?, 'queued', '', '', 0, ?, '', '')",
                    {job.kind, job.request, job.client, job.priority, key, utc_timestamp()});
    if (!done) return done;
    const std::int64_t id = writer_->last_insert_id();
    if (auto told = append_state(*writer_, id, JobState::queued); !told) return told;
    auto now = find_job(*writer_, id);
    if (!now) return now.error();
    stored = **std::move(now);
    return {};
  }

  Status end(std::int64_t id, JobState state, const std::string& message, const std::string& result) {
    auto done = run(*writer_, "UPDATE jobs SET state = ?, message = ?, result = ?, ended_at = ? WHERE id = ?",
                    {std::string(to_string(state)), message, result, utc_timestamp(), id});
    if (!done) return done;
    return append_state(*writer_, id, state);
  }

  Status put_back_one(const Job& job) {
    if (job.state == JobState::cancelling) return end(job.id, JobState::cancelled, job.message, "");
    if (job.state != JobState::running) return {};
    auto done = run(*writer_, "UPDATE jobs SET state = 'queued' WHERE id = ?", {job.id});
    if (!done) return done;
    return append_state(*writer_, job.id, JobState::queued);
  }

  Result<std::vector<JobEvent>> select_events(std::int64_t id, std::int64_t seq, std::int64_t limit,
                                              bool trials_only) const {
    auto statement =
        reader_->prepare(std::string("SELECT seq, kind, detail, trial_id, best_us, at FROM job_events WHERE "
                                     "job_id = ? AND seq > ?") +
                             (trials_only ? " AND kind = 'trial'" : "") + " ORDER BY seq LIMIT ?",
                         {id, seq, limit});
    if (!statement) return statement.error();
    std::vector<JobEvent> events;
    for (;;) {
      const auto row = statement->step();
      if (!row) return row.error();
      if (!*row) return events;
      JobEvent event{.seq = statement->integer(0),
                     .kind = statement->text(1),
                     .detail = statement->text(2),
                     .trial_id = statement->is_null(3) ? 0 : statement->integer(3),
                     .best_us = {},
                     .at = statement->text(5),
                     .trial = {}};
      if (!statement->is_null(4)) event.best_us = statement->real(4);
      events.push_back(std::move(event));
    }
  }

  std::mutex writing_;
  std::unique_ptr<Connection> writer_;
  SyncPacer pacer_;
  mutable std::mutex reading_;
  std::unique_ptr<Connection> reader_;
  mutable TrialReader rows_;
};

}  // namespace

Result<std::unique_ptr<JobStore>> open_sqlite_jobs(const std::filesystem::path& file) {
  auto writer = Connection::open(file, Connection::Mode::create, kBusyTimeoutMs);
  if (!writer) return writer.error();
  if (auto status = (*writer)->execute("PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL"); !status)
    return status.error();
  auto reader = open_read_only(file, kBusyTimeoutMs);
  if (!reader) return reader.error();
  const auto version = (*reader)->integer("PRAGMA user_version");
  if (!version) return version.error();
  if (*version != kSchemaVersion) return fail("database {}: open it as a trial store first", file.string());
  return std::unique_ptr<JobStore>(std::make_unique<SqliteJobStore>(*std::move(writer), *std::move(reader)));
}

}  // namespace attune
