// A sweep that several hosts share: each takes a shape from the board (cache/claims.h), tunes it through all
// its templates, reports it done and takes the next. The trials are on the server all hosts share, so that a
// shape whose holder died goes on where that one stopped.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "autotuner/sweep.h"
#include "base/result.h"
#include "cache/claims.h"

namespace attune {

struct ClaimOptions {
  std::string holder;         // this host, for people: "node7:4711"
  double lease_seconds = 60;  // a host that is silent for so long loses its shape; renewed three times in it
  bool wait = true;           // at the end for what others hold, to take over what they lose
};

// What happened to a claim of this host, told from one thread at a time.
struct ClaimEvent {
  enum class Kind {
    taken,
    taken_over,  // from a holder that went silent
    done,
    lost,        // another has it now: its trials stay, its result is not this host's to tell
    given_back,  // interrupted or out of time
    failed,
    waiting,  // for what others hold
  };
  Kind kind = Kind::taken;
  const SweepArm* arm = nullptr;  // the first of the shape; none while waiting
  int worker = 0;
  std::string detail;  // whom it was taken from, or why; what is waited for
};

struct ClaimShare {
  std::int64_t finished_here = 0;
  std::int64_t lost_here = 0;
  ClaimCounts counts;  // over all hosts
};

struct ClaimedSweep {
  SweepResult result;  // of all shapes, whoever tuned them
  ClaimShare share;
};

// As sweep(), over the shapes that `board` hands to this host. `options.max_seconds` is this host's. Returns
// when nothing is left to take (and, if it waits, nobody holds anything), or on `stop`.
Result<ClaimedSweep> claimed_sweep(const std::vector<SweepArm>& arms, CompilePool& compiler,
                                   TrialStore& store, ClaimBoard& board, const Packs& packs,
                                   const SweepOptions& options, const ClaimOptions& claims,
                                   const std::atomic<bool>& stop,
                                   const std::function<void(const SweepProgress&)>& progress,
                                   const std::function<void(const ClaimEvent&)>& events);

}  // namespace attune
