#include "serve/shared_jobs.h"

#include <algorithm>
#include <chrono>

namespace attune::serve {
namespace {

constexpr std::chrono::duration<double> kLongest{
    1};                        // between two looks: how late events from elsewhere come
constexpr int kRenewals = 3;   // within one lease
constexpr int kThorough = 10;  // every so many looks

}  // namespace

SharedJobs::SharedJobs(JobStore& jobs, Scheduler& scheduler, EventHub& hub,
                       std::function<void(const std::string&)> log)
    : jobs_(jobs), scheduler_(scheduler), hub_(hub), log_(std::move(log)), thread_([this] { run(); }) {}

SharedJobs::~SharedJobs() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  told_.notify_all();
  thread_.join();
}

void SharedJobs::run() {
  const auto between = std::min(kLongest, std::chrono::duration<double>(jobs_.lease_seconds() / kRenewals));
  std::unique_lock lock(mutex_);
  for (int look = 1; !told_.wait_for(lock, between, [this] { return ending_; }); ++look) {
    lock.unlock();
    scheduler_.renew_leases();
    auto status = scheduler_.look_around(look % kThorough == 0);
    if (status) status = wake_followers();
    report(status);
    lock.lock();
  }
}

Status SharedJobs::wake_followers() {
  std::vector<std::int64_t> elsewhere = hub_.followed();
  std::erase_if(elsewhere, [this](std::int64_t id) { return scheduler_.is_running(id); });
  auto last = jobs_.last_events(elsewhere);
  if (!last) return last.error();
  for (const auto& [id, seq] : *last) {
    const auto before = seen_.find(id);
    if (before == seen_.end() || before->second != seq) hub_.notify(id);
  }
  seen_ = *std::move(last);
  return {};
}

void SharedJobs::report(const Status& status) {
  if (status.ok() == answers_) return;
  answers_ = status.ok();
  log_(answers_ ? "the database answers again" : status.error().message);
}

}  // namespace attune::serve
