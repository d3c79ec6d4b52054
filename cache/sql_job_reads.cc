// The half of the job store that only reads.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cache/sql_jobs.h"

namespace attune {
namespace {

constexpr int kMostNamed = 3;  // servers, in one line

Result<Job> read_job(const SqlRow& row) {
  const auto state = parse_job_state(row.text(6));
  if (!state) return state.error();
  return Job{.id = row.integer(0),
             .kind = row.text(1),
             .request = row.text(2),
             .client = row.text(3),
             .priority = row.integer(4),
             .idempotency_key = row.text(5),
             .device = row.text(14),
             .state = *state,
             .message = row.text(7),
             .result = row.text(8),
             .starts = row.integer(9),
             .holder = row.text(10),
             .created_at = row.text(11),
             .started_at = row.text(12),
             .ended_at = row.text(13)};
}

std::string select_of(JobParts parts) {
  const bool all = parts == JobParts::all;
  const std::string request = all ? "request"
                              : parts == JobParts::listed
                                  ? "CASE WHEN length(request) <= 4096 THEN request ELSE '' END"
                                  : "''";
  return "SELECT id, kind, " + request +
         ", client, priority, coalesce(idempotency_key, ''), state, message, " + (all ? "result" : "''") +
         ", starts, holder, created_at, started_at, ended_at, device FROM jobs WHERE ";
}

}  // namespace

Result<std::vector<Job>> select_jobs(SqlDatabase& database, JobParts parts, const std::string& where,
                                     const std::vector<SqlValue>& values) {
  std::vector<Job> jobs;
  const auto status = database.query(select_of(parts) + where, values, [&](const SqlRow& row) -> Status {
    auto job = read_job(row);
    if (!job) return fail("{}: {}", database.name(), job.error().message);
    jobs.push_back(*std::move(job));
    return {};
  });
  if (!status) return status.error();
  return jobs;
}

Result<std::optional<Job>> find_job(SqlDatabase& database, std::int64_t id) {
  auto found = select_jobs(database, JobParts::all, "id = ?", {id});
  if (!found) return found.error();
  if (found->empty()) return std::optional<Job>();
  return std::optional<Job>(std::move(found->front()));
}

Result<std::optional<Job>> SqlJobStore::job(std::int64_t id) const {
  const std::lock_guard lock(reading_);
  return find_job(*reader_, id);
}

Result<std::vector<Job>> SqlJobStore::jobs(const JobFilter& filter) const {
  std::string where = "TRUE";
  std::vector<SqlValue> values;
  if (filter.state) {
    where += " AND state = ?";
    values.emplace_back(std::string(to_string(*filter.state)));
  }
  if (!filter.client.empty()) {
    where += " AND client = ?";
    values.emplace_back(filter.client);
  }
  if (filter.before > 0) {
    where += " AND id < ?";
    values.emplace_back(filter.before);
  }
  values.emplace_back(filter.limit);
  const std::lock_guard lock(reading_);
  return select_jobs(*reader_, JobParts::listed, where + " ORDER BY id DESC LIMIT ?", values);
}

Result<std::vector<Job>> SqlJobStore::queued() const {
  const std::lock_guard lock(reading_);
  return select_jobs(*reader_, JobParts::waiting, "state = 'queued' ORDER BY id", {});
}

Result<std::map<JobState, std::int64_t>> SqlJobStore::counts() const {
  const std::lock_guard lock(reading_);
  std::map<JobState, std::int64_t> counts;
  const auto status =
      reader_->query("SELECT state, count(*) FROM jobs GROUP BY state", {}, [&](const SqlRow& row) -> Status {
        const auto state = parse_job_state(row.text(0));
        if (!state) return state.error();
        counts[*state] = row.integer(1);
        return {};
      });
  if (!status) return status.error();
  return counts;
}

Result<std::vector<JobEvent>> SqlJobStore::events(std::int64_t id, std::int64_t seq, std::int64_t limit,
                                                  bool trials_only) const {
  const std::lock_guard lock(reading_);
  std::vector<JobEvent> events;
  auto status = reader_->query(
      std::string("SELECT seq, kind, detail, trial_id, best_us, at FROM job_events WHERE job_id = ? AND seq "
                  "> ?") +
          (trials_only ? " AND kind = 'trial'" : "") + " ORDER BY seq LIMIT ?",
      {id, seq, limit}, [&](const SqlRow& row) -> Status {
        JobEvent event{.seq = row.integer(0),
                       .kind = row.text(1),
                       .detail = row.text(2),
                       .trial_id = row.integer(3),
                       .best_us = {},
                       .at = row.text(5),
                       .trial = {}};
        if (!row.is_null(4)) event.best_us = row.real(4);
        events.push_back(std::move(event));
        return {};
      });
  if (!status) return status.error();
  if (events.empty()) return events;
  std::map<std::int64_t, Trial> by_id;
  status = reader_->query(
      kSelectTrials + "t.id IN (SELECT trial_id FROM job_events WHERE job_id = ? AND seq BETWEEN ? AND ?)",
      {id, events.front().seq, events.back().seq}, [&](const SqlRow& row) -> Status {
        auto trial = rows_.read(row);
        if (!trial) return fail("{}: {}", reader_->name(), trial.error().message);
        const std::int64_t trial_id = trial->id;
        by_id.emplace(trial_id, *std::move(trial));
        return {};
      });
  if (!status) return status.error();
  for (JobEvent& event : events) {
    if (const auto found = by_id.find(event.trial_id); found != by_id.end()) event.trial = found->second;
  }
  return events;
}

Result<std::map<std::int64_t, std::int64_t>> SqlJobStore::last_events(
    const std::vector<std::int64_t>& ids) const {
  std::map<std::int64_t, std::int64_t> last;
  if (ids.empty()) return last;
  const std::lock_guard lock(reading_);
  const auto status = reader_->query(
      fmt::format("SELECT id, (SELECT max(seq) FROM job_events WHERE job_id = jobs.id) FROM jobs WHERE id "
                  "IN ({})",
                  fmt::join(ids, ",")),
      {}, [&](const SqlRow& row) -> Status {
        last[row.integer(0)] = row.integer(1);
        return {};
      });
  if (!status) return status.error();
  return last;
}

Result<std::map<std::int64_t, std::string>> SqlJobStore::stranded(
    const std::vector<std::int64_t>& ids) const {
  std::map<std::int64_t, std::string> all;
  if (sharing_ == Sharing::alone || ids.empty()) return all;
  // A row for each job and server that is there for its device; one without a server where none is.
  struct Found {
    std::string text;
    int servers = 0;
    bool able = false;
  };
  std::map<std::int64_t, Found> found;
  const std::lock_guard lock(reading_);
  const auto status = reader_->query(
      fmt::format(
          "SELECT j.id, j.device, s.name, d.why FROM jobs j LEFT JOIN servers s ON s.present_until >= {} AND "
          "(j.device = '' OR s.device = j.device) LEFT JOIN declined_jobs d ON d.job_id = j.id AND d.server "
          "= s.name WHERE j.state = 'queued' AND j.id IN ({}) ORDER BY j.id, s.name",
          reader_->clock(), fmt::join(ids, ",")),
      {}, [&](const SqlRow& row) -> Status {
        Found& job = found[row.integer(0)];
        if (row.is_null(2)) {
          job.text = fmt::format("waits for a server of its device ({}): none is there", row.text(1));
          return {};
        }
        job.able = job.able || row.is_null(3);
        if (++job.servers > kMostNamed) return {};
        job.text += fmt::format("{}{}: {}", job.servers == 1 ? "no server that is there can run it: " : "; ",
                                row.text(2), row.text(3));
        return {};
      });
  if (!status) return status.error();
  for (auto& [id, job] : found) {
    if (job.able) continue;
    if (job.servers > kMostNamed) job.text += fmt::format("; and {} more", job.servers - kMostNamed);
    all.emplace(id, std::move(job.text));
  }
  return all;
}

}  // namespace attune
