// A strategy proposes configs and is told trials. It never sees a GPU, a compiler or a clock.
//
// The tune loop calls it from one thread, with a window of outstanding proposals: whenever one has ended, it
// is observed, and the next is asked for. So a slow compile holds nobody up, and what a search proposes
// depends on what ends first. A stored search takes the same way again, given as many compile threads
// (tune.cc). A tune on a recording, where nothing takes time, observes in the order of the proposals: with a
// fixed seed it proposes the same everywhere. `strategies score` observes as the machine that it models would
// (score.cc).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "autotuner/space.h"
#include "autotuner/strategy_names.h"
#include "base/result.h"
#include "cache/trial.h"

namespace attune {

struct LlmGuide;  // autotuner/llm/guide.h

// What compiler and launch say of a trial beside its time; 0 and "" where nobody knows.
struct TrialFacts {
  int registers = 0;  // a thread
  std::int64_t spill_bytes = 0;
  std::int64_t smem_bytes = 0;  // a CTA
  int threads = 0;              // a CTA
  std::string message;          // why, where the outcome is not ok
};

struct Observation {
  Point point;
  Outcome outcome;
  std::optional<double> median_us;  // for ok and slow
  double seconds = 0;               // what the trial cost: compiling (one thread) and measuring
  TrialFacts facts = {};
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string_view name() const = 0;

  // Up to n points that were not proposed before; fewer (or none) means: nothing until more is observed, or,
  // with nothing outstanding, the search is over.
  virtual std::vector<Point> propose(std::size_t n) = 0;

  // Points that it did not propose (a resumed search's, another strategy's) are welcome: they are taken as
  // knowledge and never proposed.
  virtual void observe(const Observation& observation) = 0;

  // The last propose() gave fewer points than asked because something outside the search (a language model)
  // is worth waiting for: ask again soon, even with nothing outstanding.
  virtual bool awaiting() const { return false; }
};

// How many kernels compile at once where nobody compiles (a replay), and what figures in the docs assume.
inline constexpr std::size_t kUsualCompileThreads = 16;

// How many proposals a search keeps outstanding: one for each compile thread, and a few that are on the GPU
// or between the two. Each more is chosen knowing one trial less (docs/strategies.md has the measurement).
constexpr std::size_t outstanding_proposals(std::size_t compile_threads) {
  return compile_threads + (compile_threads + 7) / 8;
}

// `start` are points worth trying first (template default, known records, the user's own), tried in order;
// those that are not in the space are left out. `max_trials` is the budget where there is one (0: none is
// known): the last of it goes to a radius-1 descent from the best (strategies/descent.h). An unknown name is
// an error that lists the names. `guide`: for the strategy that asks a language model, which without one is
// its local search alone. `space` must outlive the strategy.
Result<std::unique_ptr<Strategy>> make_strategy(std::string_view name, const Space& space, std::uint64_t seed,
                                                std::vector<Point> start, std::size_t max_trials = 0,
                                                const LlmGuide* guide = nullptr);

}  // namespace attune
