// The half of the job store that writes. Whatever changes a job, or appends to its events, has first changed
// the job's row and so holds it to the end of its transaction: servers that say something of one job at once
// do so one after the other, and its events are numbered without a gap.
#include "cache/sql_jobs.h"

#include "base/time.h"

namespace attune {
namespace {

using Extent = SqlDatabase::Extent;

constexpr const char* kRuns = "state IN ('running', 'cancelling')";
constexpr const char* kNextEvent =
    "INSERT INTO job_events (job_id, seq, kind, detail, trial_id, best_us, at) VALUES "
    "(?, (SELECT coalesce(max(seq), 0) + 1 FROM job_events WHERE job_id = ?), ?, ?, ?, ?, ?)";

}  // namespace

SqlJobStore::SqlJobStore(std::unique_ptr<SqlDatabase> writer, std::unique_ptr<SqlDatabase> reader,
                         Sharing sharing, JobStoreOptions options)
    : sharing_(sharing),
      options_(std::move(options)),
      take_(
          "UPDATE jobs SET state = 'running', starts = starts + 1, started_at = ?, holder = ?, lease_until "
          "= " +
          writer->clock() + " + ? WHERE id = ? AND state = 'queued' RETURNING starts"),
      hold_("UPDATE jobs SET lease_until = " + writer->clock() + " + ? WHERE id = ? AND starts = ? AND " +
            kRuns + " RETURNING state"),
      lost_(std::string(kRuns) + (sharing == Sharing::shared ? " AND lease_until < " + writer->clock() : "")),
      writer_(std::move(writer)),
      reader_(std::move(reader)) {}

Status SqlJobStore::write(Extent extent, const std::function<Status()>& change) {
  const std::lock_guard lock(writing_);
  return writer_->transact(extent, change);
}

Status SqlJobStore::run(const std::string& sql, const std::vector<SqlValue>& values) {
  return writer_->query(sql, values, ignore_row);
}

// The state in the first column of the one row, if there is one.
Result<std::optional<JobState>> SqlJobStore::state_by(const std::string& sql,
                                                      const std::vector<SqlValue>& values) {
  std::optional<JobState> state;
  const auto status = writer_->query(sql, values, [&](const SqlRow& row) -> Status {
    const auto parsed = parse_job_state(row.text(0));
    if (!parsed) return parsed.error();
    state = *parsed;
    return {};
  });
  if (!status) return status.error();
  return state;
}

// Renews; nothing where the lease is over.
Result<std::optional<JobState>> SqlJobStore::hold(const JobLease& lease) {
  return state_by(hold_, {options_.lease_seconds, lease.job, lease.start});
}

Status SqlJobStore::append_state(std::int64_t id, JobState state) {
  return run(kNextEvent, {id, id, std::string("state"), std::string(to_string(state)), SqlValue(), SqlValue(),
                          utc_timestamp()});
}

Status SqlJobStore::end(std::int64_t id, JobState state, const std::string& message,
                        const std::string& result) {
  auto done = run("UPDATE jobs SET state = ?, message = ?, result = ?, ended_at = ? WHERE id = ?",
                  {std::string(to_string(state)), SqlBytes{message}, result, utc_timestamp(), id});
  if (!done) return done;
  return append_state(id, state);
}

// Of one that was running or cancelling: what becomes of it.
Result<JobState> SqlJobStore::requeue(std::int64_t id, JobState state) {
  const bool cancelled = state == JobState::cancelling;
  const JobState then = cancelled ? JobState::cancelled : JobState::queued;
  auto done =
      cancelled ? run("UPDATE jobs SET state = 'cancelled', ended_at = ? WHERE id = ?", {utc_timestamp(), id})
                : run("UPDATE jobs SET state = 'queued', holder = '' WHERE id = ?", {id});
  if (!done) return done.error();
  if (auto told = append_state(id, then); !told) return told.error();
  return then;
}

Result<Submission::Verdict> SqlJobStore::check_limits(const std::string& client, const JobLimits& limits) {
  auto verdict = Submission::Verdict::accepted;
  if (limits.queued <= 0 && limits.queued_of_client <= 0) return verdict;
  const auto status = writer_->query(
      "SELECT coalesce(sum(count), 0), coalesce(sum(CASE WHEN client = ? THEN count ELSE 0 END), 0) FROM "
      "queued_jobs",
      {client}, [&](const SqlRow& row) -> Status {
        if (limits.queued > 0 && row.integer(0) >= limits.queued) verdict = Submission::Verdict::server_full;
        if (limits.queued_of_client > 0 && row.integer(1) >= limits.queued_of_client)
          verdict = Submission::Verdict::client_full;
        return {};
      });
  if (!status) return status.error();
  return verdict;
}

Status SqlJobStore::insert(const Job& job, Job& stored) {
  const SqlValue key = job.idempotency_key.empty() ? SqlValue() : SqlValue(job.idempotency_key);
  const auto id = integer_of(
      *writer_,
      "INSERT INTO jobs (kind, request, client, priority, idempotency_key, device, state, message, "
      "result, starts, created_at, started_at, ended_at) "
      "VALUES (?, ?, ?, ?, ?, ?, 'queued', '', '', 0, ?, '', '') RETURNING id",
      {job.kind, job.request, job.client, job.priority, key, job.device, utc_timestamp()});
  if (!id) return id.error();
  if (auto told = append_state(*id, JobState::queued); !told) return told;
  auto now = find_job(*writer_, *id);
  if (!now) return now.error();
  stored = **std::move(now);
  return {};
}

Result<Submission> SqlJobStore::submit(const Job& job, const JobLimits& limits) {
  Submission submission;
  const auto status = write(Extent::in_turn, [&]() -> Status {
    submission = {};
    if (!job.idempotency_key.empty()) {
      auto known = select_jobs(*writer_, JobParts::all, "client = ? AND idempotency_key = ?",
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
    const auto verdict = check_limits(job.client, limits);
    if (!verdict) return verdict.error();
    submission.verdict = *verdict;
    return *verdict == Submission::Verdict::accepted ? insert(job, submission.job) : Status();
  });
  if (!status) return status.error();
  return submission;
}

Result<std::optional<JobLease>> SqlJobStore::start(std::int64_t id) {
  std::optional<JobLease> lease;
  const auto status = write(Extent::apart, [&]() -> Status {
    lease.reset();
    const auto number =
        integer_of(*writer_, take_, {utc_timestamp(), options_.holder, options_.lease_seconds, id});
    if (!number) return number.error();
    if (*number == 0) return {};
    lease = JobLease{.job = id, .start = *number};
    return append_state(id, JobState::running);
  });
  if (!status) return status.error();
  return lease;
}

Result<std::optional<JobState>> SqlJobStore::renew(const JobLease& lease) {
  std::optional<JobState> state;
  const auto status = write(Extent::apart, [&]() -> Status {
    const auto held = hold(lease);
    if (!held) return held.error();
    state = *held;
    return {};
  });
  if (!status) return status.error();
  return state;
}

Result<std::optional<JobState>> SqlJobStore::put_back(const JobLease& lease) {
  std::optional<JobState> state;
  const auto status = write(Extent::apart, [&]() -> Status {
    state.reset();
    const auto held = hold(lease);
    if (!held) return held.error();
    if (!*held) return {};
    const auto then = requeue(lease.job, **held);
    if (!then) return then.error();
    state = *then;
    return {};
  });
  if (!status) return status.error();
  return state;
}

Result<bool> SqlJobStore::finish(const JobLease& lease, JobState state, const std::string& message,
                                 const std::string& result) {
  bool finished = false;
  const auto status = write(Extent::apart, [&]() -> Status {
    const auto held = hold(lease);
    if (!held) return held.error();
    finished = held->has_value();
    return finished ? end(lease.job, state, message, result) : Status();
  });
  if (!status) return status.error();
  return finished;
}

Result<JobStore::Addition> SqlJobStore::add_trial(const JobLease& lease, std::int64_t trial_id,
                                                  std::optional<double> best_us) {
  auto addition = Addition::refused;
  const auto status = write(Extent::apart, [&]() -> Status {
    addition = Addition::refused;
    const auto held = hold(lease);
    if (!held) return held.error();
    if (!*held) return {};
    const auto seq = integer_of(
        *writer_, std::string(kNextEvent) + " ON CONFLICT (job_id, trial_id) DO NOTHING RETURNING seq",
        {lease.job, lease.job, std::string("trial"), std::string(), trial_id,
         best_us ? SqlValue(*best_us) : SqlValue(), utc_timestamp()});
    if (!seq) return seq.error();
    addition = *seq > 0 ? Addition::added : Addition::known;
    return {};
  });
  if (!status) return status.error();
  return addition;
}

Result<std::int64_t> SqlJobStore::put_back_lost() {
  std::vector<std::int64_t> ids;
  {  // without a transaction as long as there are none, which is nearly always
    const std::lock_guard lock(reading_);
    const auto found =
        reader_->query("SELECT id FROM jobs WHERE " + lost_ + " ORDER BY id", {}, [&](const SqlRow& row) {
          ids.push_back(row.integer(0));
          return Status();
        });
    if (!found) return found.error();
  }
  if (ids.empty()) return 0;
  std::int64_t count = 0;
  for (const std::int64_t id : ids) {  // a transaction each: none holds one job and waits for another
    bool done = false;
    const auto status = write(Extent::apart, [&]() -> Status {
      const auto state =
          state_by("UPDATE jobs SET lease_until = 0 WHERE id = ? AND " + lost_ + " RETURNING state", {id});
      if (!state) return state.error();
      done = state->has_value();
      if (!done) return {};  // another server was first
      const auto then = requeue(id, **state);
      return then ? Status() : Status(then.error());
    });
    if (!status) return status.error();
    count += done ? 1 : 0;
  }
  return count;
}

Result<std::optional<Job>> SqlJobStore::cancel(std::int64_t id, const std::string& message) {
  std::optional<Job> result;
  const auto status = write(Extent::apart, [&]() -> Status {
    const auto state = state_by("UPDATE jobs SET starts = starts WHERE id = ? RETURNING state", {id});
    if (!state) return state.error();
    if (*state == JobState::queued) {
      if (auto done = end(id, JobState::cancelled, message, ""); !done) return done;
    } else if (*state == JobState::running) {
      auto done =
          run("UPDATE jobs SET state = 'cancelling', message = ? WHERE id = ?", {SqlBytes{message}, id});
      if (!done) return done;
      if (auto told = append_state(id, JobState::cancelling); !told) return told;
    }
    auto now = find_job(*writer_, id);
    if (!now) return now.error();
    result = *std::move(now);
    return {};
  });
  if (!status) return status.error();
  return result;
}

Status SqlJobStore::present(const std::string& device, double seconds) {
  auto status = write(Extent::apart, [&]() -> Status {
    if (!present_) {
      auto tidied = run("DELETE FROM servers WHERE present_until < " + writer_->clock() + " - 86400", {});
      if (!tidied) return tidied;
      tidied = run("DELETE FROM declined_jobs WHERE server = ? OR server NOT IN (SELECT name FROM servers)",
                   {options_.holder});
      if (!tidied) return tidied;
    }
    return run("INSERT INTO servers (name, device, present_until) VALUES (?, ?, " + writer_->clock() +
                   " + ?) ON CONFLICT (name) DO UPDATE SET device = excluded.device, present_until = "
                   "excluded.present_until",
               {options_.holder, device, seconds});
  });
  if (status) present_ = true;
  return status;
}

Status SqlJobStore::decline(std::int64_t id, const std::string& why) {
  return write(Extent::apart, [&]() -> Status {
    return run(
        "INSERT INTO declined_jobs (job_id, server, why) VALUES (?, ?, ?) ON CONFLICT (job_id, server) DO "
        "UPDATE SET why = excluded.why",
        {id, options_.holder, SqlBytes{why}});
  });
}

}  // namespace attune
