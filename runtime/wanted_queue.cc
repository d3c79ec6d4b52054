#include "runtime/wanted_queue.h"

#include <unistd.h>

#include "base/time.h"

namespace attune {
namespace {

constexpr int kBusyTimeoutMs = 500;

}  // namespace

WantedQueue::WantedQueue(std::string database, std::function<void(const std::string&)> log)
    : database_(std::move(database)), log_(std::move(log)), owner_(::getpid()) {
  thread_ = std::thread([this] { run(); });
}

WantedQueue::~WantedQueue() {
  if (::getpid() != owner_) {
    thread_.detach();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  work_.notify_one();
  thread_.join();
}

void WantedQueue::note(const Shape& shape, const DeviceFacts& device) {
  const std::string now = utc_timestamp();
  const std::lock_guard lock(mutex_);
  if (waiting_.size() >= kMostWaiting) return;
  waiting_.push_back({.shape = shape,
                      .gpu_name = device.name,
                      .arch = device.arch,
                      .count = 1,
                      .first_at = now,
                      .last_at = now,
                      .origin = ""});
  work_.notify_one();
}

void WantedQueue::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const Wanted next = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    write(next);
    lock.lock();
  }
}

void WantedQueue::write(const Wanted& wanted) {
  std::string why;
  if (!store_) {
    auto opened =
        open_store(database_, {.busy_timeout_ms = kBusyTimeoutMs, .server_patience_ms = kBusyTimeoutMs});
    if (opened) {
      store_ = *std::move(opened);
    } else {
      why = opened.error().message;
    }
  }
  if (store_) {
    if (const auto status = store_->want(wanted); !status) why = status.error().message;
  }
  if (why.empty() || told_) return;
  told_ = true;
  if (log_) log_(fmt::format("{} is not queued for tuning: {}", to_string(wanted.shape), why));
}

}  // namespace attune
