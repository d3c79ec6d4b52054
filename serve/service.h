// A running server's parts: database, devices, workers, compilers. What the API's answers are made with.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autotuner/sweep_arms.h"
#include "base/result.h"
#include "cache/job_store.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "cache/trusted_keys.h"
#include "compiler/compile_pool.h"
#include "serve/answer_cache.h"
#include "serve/event_hub.h"
#include "serve/metrics.h"
#include "serve/scheduler.h"
#include "serve/shared_jobs.h"
#include "serve/task_pool.h"

namespace attune::serve {

struct ServiceOptions {
  std::string database;       // a file or a URI, as open_store() takes it
  std::string name;           // of this server, for others on the same database
  double lease_seconds = 30;  // after which others take over its jobs when it is silent; not of a file
  std::string version;        // of attune
  int threads = 0;            // compilers of all workers together; 0: one a core
  JobLimits limits{.queued = 20'000, .queued_of_client = 10'000};
  ChatOpener open_chat;                         // empty: jobs may not ask language models
  std::optional<TrustedKeys> trusted = {};      // whose packs are served from and taken; none: everybody's
  std::optional<SecretKey> pack_key = {};       // signs the packs that are handed out
  std::function<void(const std::string&)> log;  // a line at a time, from any thread
};

class Service {
 public:
  // Opens the database (a file has one server at a time, others share theirs), compilers and workers. Jobs of
  // an earlier server go on.
  static Result<std::unique_ptr<Service>> open(ServiceOptions options, SweepTarget devices);
  ~Service();  // as stop()
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  void stop();  // ends the workers; running jobs are put back into the queue

  bool is_ready() const { return ready_.load(); }

  const ServiceOptions& options() const { return options_; }
  const SweepTarget& devices() const { return devices_; }
  std::string device_name() const;  // "NVIDIA H100 80GB HBM3, sm_90a": servers of one name share jobs
  bool is_shared() const { return jobs_->is_shared(); }  // its jobs, with other servers
  int workers() const { return static_cast<int>(compilers_.size()); }
  TrialStore& store() { return *store_; }
  // Runs what reads the database where it may wait for it: at once for a file, else as a task. False: too
  // many wait.
  bool read(std::function<void()> task);
  const TrialStore& reader() const { return *reader_; }  // never waits for who writes
  JobStore& jobs() { return *jobs_; }
  const Packs& packs() const { return packs_; }
  const TrustedKeys* trusted() const { return options_.trusted ? &*options_.trusted : nullptr; }
  const SecretKey* pack_key() const { return options_.pack_key ? &*options_.pack_key : nullptr; }
  CompilePool& compiler() { return *compiler_; }  // for requests, not for searches
  Metrics& metrics() { return *metrics_; }
  EventHub& hub() { return hub_; }
  Scheduler& scheduler() { return *scheduler_; }
  TaskPool& tasks() { return *tasks_; }
  AnswerCache& answers() { return answers_; }
  TaskPool& refreshes() { return *refreshes_; }  // of answers that grow old; imports don't keep them waiting
  void log(const std::string& line) const { options_.log(line); }

  // How many connections are open, once there is a server to ask.
  void count_connections_with(std::function<std::size_t()> count) { connections_ = std::move(count); }
  std::size_t connections() const { return connections_ ? connections_() : 0; }

 private:
  Service(ServiceOptions options, SweepTarget devices);
  Status open_parts();
  Status open_databases();
  Status lock_database();
  JobEnd run(const JobRequest& request, int worker, const std::atomic<bool>& stop,
             const TrialListener& on_trial);

  const ServiceOptions options_;
  const SweepTarget devices_;
  int lock_ = -1;  // of the file that says that this database has its server
  std::unique_ptr<TrialStore> store_;
  std::unique_ptr<TrialStore> workers_store_;  // more patient than what clients wait for; null: store_
  std::unique_ptr<TrialStore> reader_;
  std::unique_ptr<JobStore> jobs_;
  Packs packs_;
  std::unique_ptr<CompilePool> compiler_;
  std::vector<std::unique_ptr<CompilePool>> compilers_;  // one a worker
  std::unique_ptr<Metrics> metrics_;
  EventHub hub_;
  AnswerCache answers_;
  std::function<std::size_t()> connections_;
  std::atomic<bool> ready_{false};
  std::unique_ptr<TaskPool> tasks_;
  std::unique_ptr<TaskPool> refreshes_;
  std::unique_ptr<TaskPool> reads_;  // of a database on a server
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<SharedJobs> shared_;  // last: its thread ends first
};

}  // namespace attune::serve
