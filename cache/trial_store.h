// Where trials are kept. An interface: SQLite is the embedded default, PostgreSQL the shared server store.
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

// How far a lookup goes: exact ends with the shape itself, in either memory order.
enum class LookupReach { exact, near };

struct LookupAnswer {
  Provenance provenance = Provenance::none;
  std::optional<Trial> record;  // the trial that answers; of another shape when near
  double distance = 0;          // when near: see near_distance() in lookup.h; ln 2 is one length doubled
  bool stale = false;           // driver, NVRTC or the kernel changed since it was measured
  bool former_kernel = false;   // the kernel did: the config is what is known, its time and check are history
  std::string pack;             // name of the pack that answers (pack.h), "" for the database
  std::string reason;           // one line: why this answer, for people
};

// Which trials may answer or be resumed. Empty strings match anything. (The braces allow {.session = "s"}.)
struct TrialFilter {
  std::optional<Shape> shape{};
  std::string template_name{};
  std::string template_hash{};
  std::string gpu_name{};
  std::string arch{};
  std::optional<bool> replayed{};
  std::optional<MeasurementPolicy> policy{};
  std::optional<Outcome> outcome{};
  std::string session{};
  std::string config_hash{};
  std::int64_t after_id = 0;  // only trials that were added after this one
  std::int64_t limit = 0;     // 0: no limit
};

// A shape that programs asked for and that no record was exactly for: what `attune sweep --wanted` tunes.
struct Wanted {
  Shape shape;
  std::string gpu_name;
  std::string arch;
  std::int64_t count = 1;  // how often a program prepared it
  std::string first_at;    // UTC, as utc_timestamp() writes it
  std::string last_at;
  // Of the database that counted: counts of the same origin are the same counts. "" stands for the store's
  // own.
  std::string origin;

  bool operator==(const Wanted&) const = default;
};

using TrialVisitor = std::function<Status(const Trial&)>;           // an error ends the visit
using TrialSource = std::function<Result<std::optional<Trial>>()>;  // nothing: the end

// Thread safe: one object may be used from several threads; several processes may use one file. Not to be
// used by a forked child: it opens its own.
class TrialStore {
 public:
  virtual ~TrialStore() = default;

  // Durable when it returns: a killed process and a power cut lose nothing that was acknowledged. A trial of
  // the same (shape, template hash, config, device, policy, replayed) is added beside the older one, never
  // over it. Sets trial.id, and created_at where it is "". An error (full disk, a lock that is held too long,
  // a trial that fails check_trial(), the file deleted or replaced meanwhile) says that this trial was not
  // stored; earlier ones are, and a later add may succeed.
  virtual Status add(Trial& trial) = 0;

  // Adds all trials of `next` whose content_hash() is not yet known, or, on any error, none. Returns how many
  // were added. Other writers wait meanwhile; `next` must not use the store.
  virtual Result<std::int64_t> add_new(const TrialSource& next) = 0;

  virtual Result<std::vector<Trial>> trials(
      const TrialFilter& filter) const = 0;  // in the order they were added
  virtual Status visit(const TrialFilter& filter,
                       const TrialVisitor& visitor) const = 0;  // the same, streamed
  virtual Result<std::int64_t> count(const TrialFilter& filter) const = 0;

  // The fastest `ok` trial (one of a final round before any of a search) that matches and for which nothing
  // newer says otherwise: a later trial of the same config (same template hash, shape, GPU name and SM count,
  // policy, replayed; any driver, NVRTC and session) replaces the older one's claim, be it a wrong answer, a
  // fault or another time. The filter's outcome and limit are of no use here.
  virtual Result<std::optional<Trial>> best(const TrialFilter& filter) const = 0;

  // The best of each (shape, device, policy, replayed): what `attune cache ls` shows. Shapes in the order in
  // which they were first stored.
  virtual Result<std::vector<Trial>> records(const TrialFilter& filter) const = 0;

  // Adds `wanted.count` to the store's own count of this shape and GPU where the origin is "". Counts of
  // another origin are taken over instead (the greater of the two), so that merging twice is merging once. An
  // error: as add().
  virtual Status want(const Wanted& wanted) = 0;

  // What is wanted, the most often asked for first; one entry a (shape, GPU, origin). A database of an older
  // schema wants nothing.
  virtual Result<std::vector<Wanted>> wanted() const = 0;

  // Answers for a shape on a device: exact, else near, else none. Only trials of the device's arch and of the
  // policy are considered.
  //   exact: the same shape, in its own memory order before the other (lookup.h). On the same GPU name, else
  //          on another GPU of the arch; measured on a GPU rather than replayed from a recording; then the
  //          fastest.
  //   near:  by near_distance() (lookup.h), nearest shape first; at one distance by minor_differences();
  //          within a shape ranked like exact. There is no greatest distance: the caller sees it and
  //          decides. Not with LookupReach::exact, which spares the walk through other shapes' trials.
  // `legal` is asked about each candidate in this order, exact ones too, until it accepts one; it decides
  // what only the caller knows: whether the trial's template still has that hash (a trial of another hash is
  // history, not an answer) and whether its config is legal for this shape. It runs unlocked and may use the
  // store. An empty function accepts everything.
  virtual Result<LookupAnswer> lookup(const Shape& shape, const DeviceFacts& device,
                                      const MeasurementPolicy& policy, const std::string& nvrtc_version,
                                      const std::function<bool(const Trial&)>& legal,
                                      LookupReach reach) const = 0;
};

// Opens or creates the SQLite file and its folder (WAL, versioned schema, migrated on open). A file that is
// damaged, not SQLite, of another application or of a newer schema is an error and is never written to.
// Opening for writing checks all pages first (quick_check); later damage is an error of the call that meets
// it.
struct SqliteOptions {
  bool read_only =
      false;  // the file must exist and have schema version 3 or newer; its folder may be read-only
  int busy_timeout_ms = 5000;  // how long a lock of another process is waited for, then it is an error
};
Result<std::unique_ptr<TrialStore>> open_sqlite_store(const std::filesystem::path& file,
                                                      const SqliteOptions& options = {});

// Opens or creates what a location names: a file, as above, or the PostgreSQL database of a URI
// (postgresql://[user@]host[:port]/name, whatever libpq takes; PostgreSQL 13 or newer). On a server the
// tables are made in the first schema of the search path, which must be empty or attune's; tables of another
// application or of a newer schema are an error, and nothing is written to them. A connection that is lost is
// made again, and what was under way is repeated or found out about; a call may take as long as the patience.
struct StoreOptions {
  bool read_only = false;
  int busy_timeout_ms = 5000;      // of a file: how long a lock of another process is waited for
  int server_patience_ms = 60000;  // how long a server that was there and is gone is waited for
};
Result<std::unique_ptr<TrialStore>> open_store(const std::string& location, const StoreOptions& options = {});

// Whether there is something to open: a file that exists. A server is always taken to be there: open_store()
// says if it is not.
bool store_exists(const std::string& location);

// The location that is meant where none is named: ATTUNE_DB, else attune.db in the cache folder
// (ATTUNE_CACHE_DIR, XDG_CACHE_HOME/attune, ~/.cache/attune).
std::string default_database();

}  // namespace attune
