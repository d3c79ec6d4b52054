// The TrialStore over SQL, whichever engine is behind it. Private to cache/: users call open_store().
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cache/sql_database.h"
#include "cache/trial_rows.h"
#include "cache/trial_store.h"

namespace attune {

class SqlStore final : public TrialStore {
 public:
  explicit SqlStore(std::unique_ptr<SqlDatabase> database) : database_(std::move(database)) {}

  Status add(Trial& trial) override;
  Result<std::int64_t> add_new(const TrialSource& next) override;
  Result<std::vector<Trial>> trials(const TrialFilter& filter) const override;
  Status visit(const TrialFilter& filter, const TrialVisitor& visitor) const override;
  Result<std::int64_t> count(const TrialFilter& filter) const override;
  Result<std::optional<Trial>> best(const TrialFilter& filter) const override;
  Result<std::vector<Trial>> records(const TrialFilter& filter) const override;
  Status want(const Wanted& wanted) override;
  Result<std::vector<Wanted>> wanted() const override;
  Result<LookupAnswer> lookup(const Shape& shape, const DeviceFacts& device, const MeasurementPolicy& policy,
                              const std::string& nvrtc_version,
                              const std::function<bool(const Trial&)>& legal,
                              LookupReach reach) const override;

 private:
  struct Question;  // of lookup, with what was found on the way
  struct NearbyShape;
  struct Tier;

  // Precondition: locked.
  Result<std::vector<Trial>> select(const std::string& sql, const std::vector<SqlValue>& values) const;
  Result<std::vector<NearbyShape>> nearby_shapes(const Question& question) const;
  Result<std::optional<Trial>> first_legal(Question& question, std::int64_t shape_id, const Tier& tier) const;
  Result<std::optional<Trial>> first_legal(Question& question, std::int64_t shape_id) const;

  mutable std::mutex mutex_;
  const std::unique_ptr<SqlDatabase> database_;
  mutable TrialReader reader_;
};

}  // namespace attune
