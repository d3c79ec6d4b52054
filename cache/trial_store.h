// Where trials are kept. An interface: SQLite is the embedded default, a shared server store comes later.
// Records are queries over trials, so they can be re-ranked without running anything again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/trial.h"

namespace attune {

enum class Provenance { exact, near, none };
std::string_view to_string(Provenance provenance);

struct LookupAnswer {
  Provenance provenance = Provenance::none;
  std::optional<Trial> record;  // the trial that answers; of another shape when near
  double distance = 0;          // log-space distance of lengths and batch when near
  bool stale = false;           // driver or NVRTC changed since it was measured
  std::string reason;           // one line: why this answer, for people
};

// Which trials may answer or be resumed. Empty strings match anything.
struct TrialFilter {
  std::optional<Shape> shape;
  std::string template_name;
  std::string template_hash;
  std::string gpu_name;
  std::string arch;
  std::optional<bool> replayed;
  std::optional<MeasurementPolicy> policy;
  std::optional<Outcome> outcome;
  std::string session;
  std::int64_t limit = 0;  // 0: no limit
};

// Thread safe: one object may be used from several threads; several processes may use one file.
class TrialStore {
 public:
  virtual ~TrialStore() = default;

  // Durable when it returns. A trial of the same (shape, template hash, config, device, policy, replayed) is
  // added beside the older one, never over it. Sets trial.id.
  virtual Status add(Trial& trial) = 0;

  virtual Result<std::vector<Trial>> trials(const TrialFilter& filter) const = 0;  // oldest first
  virtual Result<std::int64_t> count(const TrialFilter& filter) const = 0;

  // The fastest `ok` trial for which nothing newer says otherwise (a later wrong_answer, fault or re-measurement of the same
  // config replaces the older one's claim).
  virtual Result<std::optional<Trial>> best(const TrialFilter& filter) const = 0;

  // One record a (shape, device, policy): what `attune cache ls` shows.
  virtual Result<std::vector<Trial>> records(const TrialFilter& filter) const = 0;

  // Answers for a shape on a device: exact, else near, else none. `legal` decides whether another shape's
  // trial may serve this shape (the caller knows templates; the store does not).
  virtual Result<LookupAnswer> lookup(const Shape& shape, const DeviceFacts& device, const MeasurementPolicy& policy,
                                      const std::string& nvrtc_version,
                                      const std::function<bool(const Trial&)>& legal) const = 0;
};

// Opens or creates the SQLite file (WAL, versioned schema, migrated on open). A file that is damaged, not
// SQLite, of another application or of a newer schema is an error and is never written to. A lock held by
// another process is waited for (busy timeout), then an error.
struct SqliteOptions {
  bool read_only = false;
  int busy_timeout_ms = 5000;
};
Result<std::unique_ptr<TrialStore>> open_sqlite_store(const std::filesystem::path& file, const SqliteOptions& options = {});

// ATTUNE_DB, else attune.db in the cache folder (ATTUNE_CACHE_DIR, XDG_CACHE_HOME/attune, ~/.cache/attune).
std::filesystem::path default_database();

}  // namespace attune
