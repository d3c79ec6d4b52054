#include "autotuner/lease_keeper.h"

namespace attune {
namespace {

constexpr std::chrono::milliseconds kGlance{100};  // how soon a signal or a lease that ran out is noticed
constexpr int kRenewals = 3;                       // within one lease

}  // namespace

LeaseKeeper::LeaseKeeper(ClaimBoard& board, Lease lease, double lease_seconds, const std::atomic<bool>& stop)
    : board_(board),
      lease_(std::move(lease)),
      seconds_(lease_seconds),
      stop_(stop),
      good_until_(Clock::now() +
                  std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(lease_seconds))) {
  renewing_ = std::thread([this] { renew_until_told(); });
  watching_ = std::thread([this] { watch(); });
}

LeaseKeeper::~LeaseKeeper() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  told_.notify_all();
  watching_.join();
  renewing_.join();
}

void LeaseKeeper::renew_until_told() {
  const std::chrono::duration<double> length(seconds_);
  std::unique_lock lock(mutex_);
  while (!told_.wait_for(lock, length / kRenewals, [this] { return ending_; })) {
    lock.unlock();
    const auto asked = Clock::now();
    const auto renewed = board_.renew(lease_, seconds_);
    if (renewed && *renewed) {
      good_until_.store(asked + std::chrono::duration_cast<Clock::duration>(length));
    } else if (renewed) {
      lost_.store(true);
      stopped_.store(true);
      return;
    }
    lock.lock();
  }
}

void LeaseKeeper::watch() {
  std::unique_lock lock(mutex_);
  while (!told_.wait_for(lock, kGlance, [this] { return ending_; })) {
    if (stop_.load() || Clock::now() > good_until_.load()) stopped_.store(true);
  }
}

}  // namespace attune
