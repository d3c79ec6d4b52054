// A strategy proposes configs and is told trials. It never sees a GPU, a compiler or a clock.
//
// The tune loop calls it from one thread. Observations arrive in the order of the proposals, and proposals
// are asked for by a fixed rule (a window of outstanding proposals), so that with a fixed seed, equal
// measurements and as many compile threads the proposals are equal, whatever the machine's speed.
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

// How many proposals a search keeps outstanding, at most. Trials are observed in their order: with two a
// compile thread, a slow compile at the head does not leave the other threads idle.
constexpr std::size_t most_outstanding(std::size_t compile_threads) {
  return 2 * compile_threads;
}

// What a strategy knows of the search around it.
struct SearchContext {
  // The budget where there is one (0: none is known): the last of it goes to a radius-1 descent from the best
  // (strategies/descent.h).
  std::size_t max_trials = 0;
  std::size_t compile_threads = kUsualCompileThreads;
  const LlmGuide* guide = nullptr;  // whom "llm" asks; without, it is its local search alone
};

// `start` are points worth trying first (template default, known records, the user's own), tried in order;
// those that are not in the space are left out. An unknown name is an error that lists the names. `space`
// must outlive the strategy, `context` need not.
Result<std::unique_ptr<Strategy>> make_strategy(std::string_view name, const Space& space, std::uint64_t seed,
                                                std::vector<Point> start, const SearchContext& context = {});

}  // namespace attune
