// The JobStore over SQL, whichever engine is behind it. Private to cache/: users call open_jobs().
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cache/job_store.h"
#include "cache/sql_database.h"
#include "cache/trial_rows.h"

namespace attune {

class SqlJobStore final : public JobStore {
 public:
  enum class Sharing { alone, shared };  // whether other servers may work on the same jobs

  // Two connections to one database; of `reader` only queries are asked.
  SqlJobStore(std::unique_ptr<SqlDatabase> writer, std::unique_ptr<SqlDatabase> reader, Sharing sharing,
              JobStoreOptions options);

  Result<Submission> submit(const Job& job, const JobLimits& limits) override;
  Result<std::optional<JobLease>> start(std::int64_t id) override;
  Result<std::optional<JobState>> renew(const JobLease& lease) override;
  Result<std::optional<JobState>> put_back(const JobLease& lease) override;
  Result<bool> finish(const JobLease& lease, JobState end, const std::string& message,
                      const std::string& result) override;
  Result<Addition> add_trial(const JobLease& lease, std::int64_t trial_id,
                             std::optional<double> best_us) override;
  Result<std::int64_t> put_back_lost() override;
  Result<std::optional<Job>> cancel(std::int64_t id, const std::string& message) override;

  Result<std::optional<Job>> job(std::int64_t id) const override;
  Result<std::vector<Job>> jobs(const JobFilter& filter) const override;
  Result<std::vector<Job>> queued() const override;
  Result<std::map<JobState, std::int64_t>> counts() const override;
  Result<std::vector<JobEvent>> events(std::int64_t id, std::int64_t seq, std::int64_t limit,
                                       bool trials_only) const override;
  Result<std::map<std::int64_t, std::int64_t>> last_events(
      const std::vector<std::int64_t>& ids) const override;

  Status present(const std::string& device, double seconds) override;
  Status decline(std::int64_t id, const std::string& why) override;
  Result<std::map<std::int64_t, std::string>> stranded(const std::vector<std::int64_t>& ids) const override;

  bool is_shared() const override { return sharing_ == Sharing::shared; }
  double lease_seconds() const override { return options_.lease_seconds; }

 private:
  // One transaction, which may be run more than once: whatever it tells its caller it sets anew.
  Status write(SqlDatabase::Extent extent, const std::function<Status()>& change);

  // Parts of a transaction.
  Status run(const std::string& sql, const std::vector<SqlValue>& values);
  Result<std::optional<JobState>> state_by(const std::string& sql, const std::vector<SqlValue>& values);
  Result<std::optional<JobState>> hold(const JobLease& lease);
  Result<Submission::Verdict> check_limits(const std::string& client, const JobLimits& limits);
  Status insert(const Job& job, Job& stored);
  Status append_state(std::int64_t id, JobState state);
  Status end(std::int64_t id, JobState state, const std::string& message, const std::string& result);
  Result<JobState> requeue(std::int64_t id, JobState state);

  const Sharing sharing_;
  const JobStoreOptions options_;
  const std::string take_, hold_, lost_;  // statements that tell the time
  std::mutex writing_;
  bool present_ = false;
  const std::unique_ptr<SqlDatabase> writer_;
  mutable std::mutex reading_;
  const std::unique_ptr<SqlDatabase> reader_;
  mutable TrialReader rows_;
};

// How much of a job is read: what may be long is left out of lists.
enum class JobParts {
  all,
  listed,   // no result, and no request of more than 4 KiB
  waiting,  // neither
};
// `where`: a condition, and what may follow it.
Result<std::vector<Job>> select_jobs(SqlDatabase& database, JobParts parts, const std::string& where,
                                     const std::vector<SqlValue>& values);
Result<std::optional<Job>> find_job(SqlDatabase& database, std::int64_t id);

}  // namespace attune
