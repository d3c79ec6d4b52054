#pragma once

#include <mutex>
#include <optional>

#include "autotuner/forwarding_store.h"

namespace attune {

// Another store, with the last failure to add a trial remembered: who runs many searches over one store can
// tell a store that takes nothing any more from a search that failed. Thread safe as the other is, which must
// outlive it.
class WatchedStore final : public ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;

  // Why a trial could not be added, if that ever happened.
  std::optional<Error> failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

  Status add(Trial& trial) override {
    Status status = ForwardingStore::add(trial);
    if (!status) {
      const std::lock_guard lock(mutex_);
      failure_ = status.error();
    }
    return status;
  }

 private:
  mutable std::mutex mutex_;
  std::optional<Error> failure_;
};

}  // namespace attune
