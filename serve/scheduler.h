// The workers that run jobs, one a GPU, and the queue between them and who submits.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "cache/job_store.h"
#include "serve/event_hub.h"
#include "serve/fair_queue.h"
#include "serve/job_runner.h"
#include "serve/metrics.h"

namespace attune::serve {

class Scheduler {
 public:
  // Runs one job of a worker; the tests' may be anything. Called on the worker's thread.
  using Run = std::function<JobEnd(const JobRequest& request, int worker, const std::atomic<bool>& stop,
                                   const TrialListener& on_trial)>;

  // Which of the jobs that servers share are for this one: those of its device that it can run, which others
  // have accepted and may see otherwise. The rest is left to the others.
  struct Ability {
    std::string device;
    std::function<Status(const JobRequest& request)> check;  // empty: it can run all
  };

  // `log` is told one line at a time, from any thread. All references must outlive the scheduler.
  Scheduler(JobStore& jobs, Metrics& metrics, EventHub& hub, int workers, Run run,
            std::function<void(const std::string&)> log, Ability ability = {});
  ~Scheduler();  // as stop()

  // Queues again what an earlier server left, and starts the workers.
  Status start();

  void added(const Job& job);  // that was just submitted

  // Of a database that other servers work on, too; to be called again and again (shared_jobs.h).
  // Puts back what servers that went silent left, and queues what others accepted. Where this one has jobs
  // waiting it looks only if `thoroughly`, at least every ten seconds: what it would find has time. Then it
  // also lets the others know that it is there.
  Status look_around(bool thoroughly);
  // Renews the leases of the jobs that run here. Ends those that were cancelled at another server, that
  // another server has by now, or, since nothing was heard from the database, may have.
  void renew_leases();
  bool is_running(std::int64_t id) const;  // here

  Result<std::optional<Job>> cancel(std::int64_t id, const std::string& message);

  // Ends running jobs as soon as their trials in hand are stored, and puts them back into the queue.
  void stop();

  std::size_t queued() const;
  double seconds_until_room() const;  // a guess from how long jobs took, for Retry-After

 private:
  using Clock = std::chrono::steady_clock;
  struct Running {
    std::atomic<bool> stop{false};
    std::atomic<bool> held{false};  // by this server; then what follows is set
    JobLease lease;
    Clock::time_point good_until;  // by this machine's clock; from then on renew_leases() has it
  };

  void work(int worker);
  void serve(std::int64_t id, int worker);
  // Precondition of both: locked.
  bool is_for_this(const Job& job) const;
  void enqueue(const Job& job);
  Status check(const Job& job) const;
  Result<std::optional<Job>> take(std::int64_t id, Running& running);
  bool is_stopping() const;
  JobEnd run_guarded(const Job& job, int worker, Running& running);
  void settle(const JobEnd& end, const JobLease& lease);
  void pause(std::unique_lock<std::mutex>& lock);

  JobStore& jobs_;
  Metrics& metrics_;
  EventHub& hub_;
  const int workers_;
  const Run run_;
  const std::function<void(const std::string&)> log_;
  const Ability ability_;
  const Clock::duration lease_length_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable work_;
  FairQueue queue_;
  std::set<std::int64_t> elsewhere_;  // jobs that this server cannot run
  std::map<std::int64_t, std::shared_ptr<Running>> running_;
  double job_seconds_ = 1;  // mean of late jobs
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace attune::serve
