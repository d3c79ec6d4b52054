#pragma once

#include "cache/trial_store.h"

namespace attune {

// Another store, for who wants to see or change one of its calls and leave the rest alone. Thread safe as the
// other is, which must outlive it.
class ForwardingStore : public TrialStore {
 public:
  explicit ForwardingStore(TrialStore& store) : store_(store) {}

  Status add(Trial& trial) override { return store_.add(trial); }
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
                              const std::function<bool(const Trial&)>& legal,
                              LookupReach reach) const override {
    return store_.lookup(shape, device, policy, nvrtc_version, legal, reach);
  }

 private:
  TrialStore& store_;
};

}  // namespace attune
