// Where servers' jobs are kept: what was asked for, how it stands, and what happened in each, in order. An
// interface beside TrialStore and over the same database. A SQLite file has one server; those on a PostgreSQL
// database share its jobs: each is run by one of them, who has a lease that must be renewed in time, by the
// database's clock, or another takes the job over.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cache/trial.h"

namespace attune {

// queued -> running -> done | failed | cancelled. `cancelling` is running with the wish that it ends; a
// server that goes away leaves running jobs to be queued again.
enum class JobState { queued, running, cancelling, done, failed, cancelled };
std::string_view to_string(JobState state);
Result<JobState> parse_job_state(std::string_view text);
bool has_ended(JobState state);  // done, failed, cancelled: for good

struct Job {
  std::int64_t id = 0;          // in the order of submission, never given twice
  std::string kind;             // "tune", "sweep"
  std::string request;          // canonical JSON: the same request, the same bytes
  std::string client;           // who asked
  std::int64_t priority = 0;    // greater goes first
  std::string idempotency_key;  // "": none
  std::string device;           // that it is for, as servers name theirs; "": any
  JobState state = JobState::queued;
  std::string message;                           // why it failed or was cancelled
  std::string result;                            // JSON, of one that is done
  std::int64_t starts = 0;                       // how often a worker took it up
  std::string holder;                            // the server that runs or ran it, "" while it waits
  std::string created_at, started_at, ended_at;  // UTC, "" where it has not happened

  bool operator==(const Job&) const = default;
};

// Something that happened in a job: a change of state, or a trial.
struct JobEvent {
  std::int64_t seq = 0;  // 1, 2, ... in its job
  std::string kind;      // "state", "trial"
  std::string detail;    // of "state": the state's name
  std::int64_t trial_id = 0;
  std::optional<double> best_us;  // of "trial": the job's best so far
  std::string at;
  std::optional<Trial> trial;  // of "trial", unless it was deleted since
};

struct JobFilter {
  std::optional<JobState> state{};
  std::string client{};
  std::int64_t before = 0;  // ids below; 0: all
  std::int64_t limit = 100;
};

struct JobLimits {
  std::int64_t queued = 0;  // of all clients; 0: no limit
  std::int64_t queued_of_client = 0;
};

struct Submission {
  enum class Verdict {
    accepted,
    repeated,     // the key's job, which was there: nothing was added
    key_reused,   // the key stands for another request
    client_full,  // too many of this client's jobs are queued
    server_full,
  };
  Verdict verdict = Verdict::accepted;
  Job job;  // as it stands; none (id 0) where it is full
};

// The right to run a job: which of its starts this is. What is said under an earlier one is refused.
struct JobLease {
  std::int64_t job = 0;
  std::int64_t start = 0;
};

// Thread safe. Every change of state appends an event in the same transaction. What a call acknowledged
// survives a killed process (and, but for the last 20 ms of a burst in a file, a power cut). Errors are the
// database's: full disk, a lock that is held too long, the file deleted meanwhile.
class JobStore {
 public:
  virtual ~JobStore() = default;

  // Adds the job as queued; id, state, times and starts are set here.
  virtual Result<Submission> submit(const Job& job, const JobLimits& limits) = 0;

  virtual Result<std::optional<Job>> job(std::int64_t id) const = 0;
  // Newest first, without results, and without requests of more than 4 KiB.
  virtual Result<std::vector<Job>> jobs(const JobFilter& filter) const = 0;

  // What waits, in the order of submission, without requests.
  virtual Result<std::vector<Job>> queued() const = 0;
  virtual Result<std::map<JobState, std::int64_t>> counts() const = 0;

  // queued -> running, by this server. Nothing: it is not queued (any more); another took it, or it was
  // cancelled.
  virtual Result<std::optional<JobLease>> start(std::int64_t id) = 0;

  // All of these are refused (nothing, or `refused`) when the lease is no longer this one's: another server
  // has the job, or it has ended.

  // For as long again. The state: running, or cancelling, which is the wish of whoever cancelled it anywhere.
  virtual Result<std::optional<JobState>> renew(const JobLease& lease) = 0;
  // running -> queued, as when a server ends; cancelling -> cancelled. The state it then has.
  virtual Result<std::optional<JobState>> put_back(const JobLease& lease) = 0;
  // running or cancelling -> `end`.
  virtual Result<bool> finish(const JobLease& lease, JobState end, const std::string& message,
                              const std::string& result) = 0;
  // Appends a trial to the job's events, once, and renews.
  enum class Addition { added, known, refused };
  virtual Result<Addition> add_trial(const JobLease& lease, std::int64_t trial_id,
                                     std::optional<double> best_us) = 0;

  // Puts back what no server works on: on a shared database all whose lease is over, at any time; in a file
  // all that run, so there it is called when a server starts, before it runs any. Returns how many.
  virtual Result<std::int64_t> put_back_lost() = 0;

  // queued -> cancelled, running -> cancelling; ended ones stay. The job as it then stands, if there is one.
  virtual Result<std::optional<Job>> cancel(std::int64_t id, const std::string& message) = 0;

  // Events after `seq`, oldest first, `limit` at most; `trials_only` leaves out the rest.
  virtual Result<std::vector<JobEvent>> events(std::int64_t id, std::int64_t seq, std::int64_t limit,
                                               bool trials_only = false) const = 0;
  // The number of the last event of each of these jobs, for who waits for others' events.
  virtual Result<std::map<std::int64_t, std::int64_t>> last_events(
      const std::vector<std::int64_t>& ids) const = 0;

  // Whether other servers may work on the same jobs.
  virtual bool is_shared() const = 0;

  // What servers that share jobs let each other know.

  // This one is there for so many seconds more and runs jobs for `device`. What it declined before the first
  // of these calls it takes back: it may be another one by now.
  virtual Status present(const std::string& device, double seconds) = 0;
  // This one can't run the job; why, in one line.
  virtual Status decline(std::int64_t id, const std::string& why) = 0;
  // Of these jobs those that are queued and that none of the servers that are there can run: what each waits
  // for, in one line. Nothing of a file.
  virtual Result<std::map<std::int64_t, std::string>> stranded(
      const std::vector<std::int64_t>& ids) const = 0;

  virtual double lease_seconds() const = 0;
};

struct JobStoreOptions {
  std::string holder = "this server";  // its name for people and other servers: "node7:4711"
  double lease_seconds = 30;      // a server that is silent for so long loses its jobs; of a file not used
  int server_patience_ms = 5000;  // as StoreOptions has it
};

// Over a database that open_store() has opened for writing; connections of its own, one of which only reads,
// so that who reads never waits for who writes.
Result<std::unique_ptr<JobStore>> open_jobs(const std::string& location, const JobStoreOptions& options = {});

}  // namespace attune
