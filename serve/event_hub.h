#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace attune::serve {

// Wakes who follows a job: what happened is in the job store, here is only that something did. Thread safe.
class EventHub {
 public:
  // Called on the notifying thread, must not block. One that is under way may end after its subscription.
  using Wake = std::function<void()>;

  // Ends when it goes out of scope.
  class Subscription {
   public:
    Subscription(EventHub& hub, std::int64_t job, std::int64_t number)
        : hub_(hub), job_(job), number_(number) {}
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;
    ~Subscription() { hub_.unsubscribe(job_, number_); }

   private:
    EventHub& hub_;
    const std::int64_t job_;
    const std::int64_t number_;
  };

  std::unique_ptr<Subscription> subscribe(std::int64_t job, Wake wake) {
    const std::lock_guard lock(mutex_);
    wakes_[job].emplace(++last_, std::move(wake));
    return std::make_unique<Subscription>(*this, job, last_);
  }

  // Unlocked while it wakes: a wake-up may be what ends the last use of its subscription.
  void notify(std::int64_t job) {
    std::vector<Wake> wakes;
    {
      const std::lock_guard lock(mutex_);
      const auto found = wakes_.find(job);
      if (found == wakes_.end()) return;
      for (const auto& [number, wake] : found->second) wakes.push_back(wake);
    }
    for (const Wake& wake : wakes) wake();
  }

  // The jobs that someone follows.
  std::vector<std::int64_t> followed() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::int64_t> jobs;
    for (const auto& [job, wakes] : wakes_) jobs.push_back(job);
    return jobs;
  }

  std::size_t followers() const {
    const std::lock_guard lock(mutex_);
    std::size_t count = 0;
    for (const auto& [job, wakes] : wakes_) count += wakes.size();
    return count;
  }

 private:
  void unsubscribe(std::int64_t job, std::int64_t number) {
    const std::lock_guard lock(mutex_);
    const auto found = wakes_.find(job);
    if (found == wakes_.end()) return;
    found->second.erase(number);
    if (found->second.empty()) wakes_.erase(found);
  }

  mutable std::mutex mutex_;
  std::int64_t last_ = 0;
  std::map<std::int64_t, std::map<std::int64_t, Wake>> wakes_;
};

}  // namespace attune::serve
