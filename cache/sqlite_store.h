// The embedded TrialStore. Private to cache/: users call open_sqlite_store().
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cache/sqlite.h"
#include "cache/sync_pacer.h"
#include "cache/trial_rows.h"
#include "cache/trial_store.h"

namespace attune {

class SqliteStore final : public TrialStore {
 public:
  explicit SqliteStore(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}

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
                              const std::function<bool(const Trial&)>& legal) const override;

 private:
  struct Question;  // of lookup, with what was found on the way
  struct NearbyShape;
  struct Tier;

  Status check_writable() const;  // precondition: locked
  Result<std::vector<Trial>> select(const std::string& sql, const std::vector<SqlValue>& values) const;
  Result<std::vector<NearbyShape>> nearby_shapes(const Question& question) const;
  Result<std::optional<Trial>> first_legal(Question& question, std::int64_t shape_id, const Tier& tier) const;
  Result<std::optional<Trial>> first_legal(Question& question, std::int64_t shape_id) const;

  mutable std::mutex mutex_;
  std::unique_ptr<Connection> connection_;
  mutable TrialReader reader_;
  SyncPacer pacer_;
};

}  // namespace attune
