// Many hosts, one sweep: which of them tunes which shape. A claim is a shape on a kind of GPU; who holds it
// has a lease that must be renewed in time, by the server's clock, or another host may take it over. Kept on
// the PostgreSQL server that has the trials.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/shape.h"
#include "cache/trial.h"

namespace attune {

// What is shared out. Hosts whose subjects are equal in all but weight and max_trials share them.
struct ClaimSubject {
  Shape shape;
  std::string gpu_name;
  std::string arch;
  bool replayed = false;
  MeasurementPolicy policy;
  std::string templates;        // "hopper@HASH portable@HASH": other kernels are other work
  double weight = 1;            // of those handed out equally often the heavier ones are first
  std::int64_t max_trials = 0;  // that it is done with; 0: as many as its space has
};

// The right to tune a subject until it expires. The token is greater than those of all earlier leases of the
// subject: what is written under an older one is refused.
struct Lease {
  std::int64_t claim = 0;
  std::int64_t token = 0;
  std::size_t subject = 0;  // index into what was enlisted
  std::string taken_from;   // the holder whose lease ran out, "" where nobody held it
};

struct ClaimCounts {
  std::int64_t open = 0;  // to be had: never held, given back, or expired
  std::int64_t held = 0;  // by a lease that is good
  std::int64_t done = 0;
  std::int64_t given_up = 0;  // failed, or lost by too many holders
};

// A row of what `attune cache claims` shows. Times are UTC as utc_timestamp() writes them, "" for never.
struct ClaimStatus {
  ClaimSubject subject;
  std::string state;  // "open", "held", "expired", "done", "given up"
  std::string holder;
  std::string taken_from;
  std::string held_since;
  std::string ended_at;
  double seconds_since_heard = 0;  // while held or expired
  double seconds_left = 0;         // of the lease, negative when expired
  std::int64_t times_lost = 0;     // leases that ran out
  std::int64_t times_done = 0;
  std::string message;  // why it was given up or back
};

// Thread safe. A server that is gone is waited for (StoreOptions::server_patience_ms), so a call may take
// long; errors are one line.
class ClaimBoard {
 public:
  virtual ~ClaimBoard() = default;

  // What this host is able to tune; from then on take() hands out of it. A subject that was done with fewer
  // trials is opened again.
  virtual Status enlist(const std::vector<ClaimSubject>& subjects) = 0;

  // A subject that nobody holds, nothing when there is none now. `holder` is for people.
  virtual Result<std::optional<Lease>> take(const std::string& holder, double lease_seconds) = 0;

  // All of these are false when the lease is no longer this holder's: another has it, or someone ended it.
  virtual Result<bool> renew(const Lease& lease, double lease_seconds) = 0;
  virtual Result<bool> finish(const Lease& lease) = 0;  // tuned as wanted
  // Not finished, for a reason that another time or host may not have; the subject is open again.
  virtual Result<bool> give_back(const Lease& lease, const std::string& why) = 0;
  // It failed here. After kMostFailures, those of hosts that went silent included, nobody tries again.
  virtual Result<bool> fail_it(const Lease& lease, const std::string& why) = 0;

  virtual Result<ClaimCounts> counts() const = 0;            // of what was enlisted
  virtual Result<std::vector<ClaimStatus>> all() const = 0;  // on the server, in the order of their making
  virtual Result<std::int64_t> reopen_given_up() = 0;        // how many

  static constexpr int kMostFailures = 5;
};

// Opens the claims of a server (creates or migrates its tables, as open_store() does). A file is an error: it
// cannot be shared between hosts.
Result<std::unique_ptr<ClaimBoard>> open_claims(const std::string& location, int server_patience_ms = 60000);

}  // namespace attune
