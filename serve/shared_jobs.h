// Servers on one database: what each does for the jobs that it shares with the others, on a thread of its
// own. It renews the leases of the jobs that run here, puts back what servers that went silent left, queues
// what others accepted, and wakes who follows a job that runs elsewhere.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "cache/job_store.h"
#include "serve/event_hub.h"
#include "serve/scheduler.h"

namespace attune::serve {

class SharedJobs {
 public:
  // `log` is told when the database stops answering and when it does so again. All must outlive this.
  SharedJobs(JobStore& jobs, Scheduler& scheduler, EventHub& hub,
             std::function<void(const std::string&)> log);
  ~SharedJobs();
  SharedJobs(const SharedJobs&) = delete;
  SharedJobs& operator=(const SharedJobs&) = delete;

 private:
  void run();
  Status wake_followers();
  void report(const Status& status);

  JobStore& jobs_;
  Scheduler& scheduler_;
  EventHub& hub_;
  const std::function<void(const std::string&)> log_;
  std::map<std::int64_t, std::int64_t> seen_;  // the last event of each job that is followed
  bool answers_ = true;
  std::mutex mutex_;
  std::condition_variable told_;
  bool ending_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace attune::serve
