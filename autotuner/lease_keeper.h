// Keeps a lease alive from a thread of its own while its shape is tuned, and says when it is lost.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "cache/claims.h"

namespace attune {

class LeaseKeeper {
 public:
  // `stop`: the whole sweep's, passed on to stopped(). All are outlived.
  LeaseKeeper(ClaimBoard& board, Lease lease, double lease_seconds, const std::atomic<bool>& stop);
  ~LeaseKeeper();  // ends the renewing, at the latest when a renewal under way has ended

  // For the tune: set once the lease is lost, may be lost (nothing was heard from the server for its whole
  // length, by this host's steady clock), or the sweep is to stop.
  const std::atomic<bool>& stopped() const { return stopped_; }

  // Whether the server said that another has it.
  bool lost() const { return lost_.load(); }

 private:
  using Clock = std::chrono::steady_clock;
  void renew_until_told();
  void watch();

  ClaimBoard& board_;
  const Lease lease_;
  const double seconds_;
  const std::atomic<bool>& stop_;
  std::atomic<bool> stopped_{false};
  std::atomic<bool> lost_{false};
  std::atomic<Clock::time_point> good_until_;

  std::mutex mutex_;
  std::condition_variable told_;
  bool ending_ = false;
  std::thread renewing_;  // blocks while the server is silent
  std::thread watching_;  // never does
};

}  // namespace attune
