// The tune loop: shape -> space -> strategy -> compile pool -> device -> trial store, without barriers.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autotuner/device.h"
#include "autotuner/space.h"
#include "autotuner/strategy.h"
#include "base/result.h"
#include "cache/trial_store.h"
#include "compiler/compile_pool.h"
#include "templates/attention_template.h"

namespace attune {

class ChatSession;

struct TuneOptions {
  std::string strategy = std::string(kDefaultStrategy);
  std::int64_t max_trials = 200;  // 0: no limit (exhaustive)
  double max_seconds = 0;         // 0: no limit
  std::uint64_t seed = 0;
  std::vector<Config> start;  // tried first, before the template's default
  bool remeasure = false;     // true: do not take up stored trials of the same search, measure again
  // True: the strategy is told all stored trials first and proposes only new configs, which max_trials then
  // counts (a sweep's next helping). False: it goes its way again from the start and finds stored answers on
  // it, so that the same command leads to the same trials (as many compile threads provided).
  bool tell_stored = false;
  int window = 0;     // outstanding proposals; 0: outstanding_proposals() of the compile threads
  int shoot_out = 5;  // finalists; below 2: no shoot-out
  MeasurementPolicy policy;
  std::shared_ptr<ChatSession> llm;  // whom the strategy "llm" asks
};

// How many proposals tune() keeps outstanding with these.
std::size_t outstanding_of(const TuneOptions& options, const Device& device, const CompilePool& compiler);

// Progress, told from the tune loop's own thread.
struct TuneProgress {
  std::int64_t trials = 0;  // done, resumed ones included
  std::int64_t resumed = 0;
  std::map<Outcome, std::int64_t> outcomes;
  double elapsed_seconds = 0;
  std::optional<double> best_us;
  double best_tflops = 0;
  std::optional<Trial> last;
};

struct TuneResult {
  std::optional<Trial> best;           // none when no config passed
  std::optional<Trial> default_trial;  // the template's default config, for comparison
  TuneProgress totals;
  CompileStats compile;
  double gpu_busy_seconds = 0;
  double at_limit_seconds = 0;  // the GPU measured, or every compile thread had work
  bool interrupted = false;     // stopped by `stop`
  std::string note;             // within noise of the default, for example
};

// Searches `space` (the template's for the shape and device, possibly restricted). Records that a change of
// driver or NVRTC made stale are measured again first. `stop` may be set by a
// signal handler: outstanding work is dropped, what was measured is stored. An Error means that the search
// could not start or could not go on (device gone, store not writable); what was stored until then stays.
Result<TuneResult> tune(const Shape& shape, const AttentionTemplate& tmpl, const Space& space, Device& device,
                        CompilePool& compiler, TrialStore& store, const TuneOptions& options,
                        const std::atomic<bool>& stop,
                        const std::function<void(const TuneProgress&)>& progress);

}  // namespace attune
