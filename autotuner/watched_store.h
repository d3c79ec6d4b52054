#pragma once

#include <mutex>
#include <optional>

#include "cache/trial_store.h"

namespace attune {

// Another store, with the last failure to add a trial remembered: who runs many searches over one store can
// tell a store that takes nothing any more from a search that failed. Thread safe as the other is, which must
// outlive it.
class WatchedStore final : public TrialStore {
 public:
  explicit WatchedStore(TrialStore& store) : store_(store) {}

  // Why a trial could not be added, if that ever happened.
  std::optional<Error> failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

  Status add(Trial& trial) override {
    Status status = store_.add(trial);
    if (!status) {
      const std::lock_guard lock(mutex_);
      failure_ = status.error();
    }
    return status;
  }

  Result<std::int64_t> add_new(const TrialSource& next) override { return store_.add_new(next); }
  Result<std::vector<Trial>> trials(const TrialFilter& filter) const override {
    return store_.trials(filter);
  }
  Status visit(const TrialFilter& filter, const TrialVisitor& visitor) const override {
    return store_.visit(filter, visitor);
  }
  Result<std::int64_t> count(const TrialFilter& filter) const override { return store_.count(filter); }
  Result<std::optional<Trial>> best(const TrialFilter& filter) const override { return store_.best(filter); }
  Result<std::vector<Trial>> records(const TrialFilter& filter) const override {
    return store_.records(filter);
  }
  Status want(const Wanted& wanted) override { return store_.want(wanted); }
  Result<std::vector<Wanted>> wanted() const override { return store_.wanted(); }
  Result<LookupAnswer> lookup(const Shape& shape, const DeviceFacts& device, const MeasurementPolicy& policy,
                              const std::string& nvrtc_version,
                              const std::function<bool(const Trial&)>& legal) const override {
    return store_.lookup(shape, device, policy, nvrtc_version, legal);
  }

 private:
  TrialStore& store_;
  mutable std::mutex mutex_;
  std::optional<Error> failure_;
};

}  // namespace attune
