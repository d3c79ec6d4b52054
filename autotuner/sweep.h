// Tunes many shapes on one budget: the schedule says which shape gets the next helping of trials, and each
// helping is a tune (tune.h) that starts from what is stored. The database's trials are all the state there
// is: after a SIGKILL at any point the same sweep goes on where it stopped, and measures nothing twice.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autotuner/device.h"
#include "autotuner/space.h"
#include "autotuner/sweep_schedule.h"
#include "autotuner/tune.h"
#include "base/result.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "compiler/compile_pool.h"

namespace attune {

// A shape through a template, on a kind of device.
struct SweepArm {
  std::size_t shape_number = 0;  // arms of one shape have the same, the template to prefer comes first
  Shape shape;
  double weight = 1;
  const AttentionTemplate* tmpl = nullptr;
  DeviceFacts device;
  bool replays = false;
  std::function<Result<Space>()> space;
  // What measures it, for the worker of that number. Called on the worker's thread.
  std::function<Result<std::unique_ptr<Device>>(int worker)> open;
};

struct SweepOptions {
  std::string strategy = TuneOptions{}.strategy;
  std::uint64_t seed = 0;
  double max_seconds = 0;  // of the whole sweep; 0: no limit
  int workers = 1;         // threads, each with a device of its own
  bool remeasure = false;  // measure again what is stored: the first helpings start from nothing
  MeasurementPolicy policy;
  ScheduleOptions schedule;
};

// Told after each helping, from one thread at a time.
struct SweepProgress {
  std::size_t shapes = 0;
  std::size_t shapes_served = 0;  // that have a time
  std::int64_t trials = 0;        // measured by this run
  std::int64_t stored = 0;        // of this sweep, that were there before it
  double elapsed_seconds = 0;
  const SweepArm* arm = nullptr;  // that was served
  int worker = 0;
  std::optional<double> best_us;  // of its shape
  std::optional<double> gain;     // of this helping over its shape's best before, 0.02: 2% faster
};

// What is known of a shape when a sweep ends, from the database.
struct SweptShape {
  std::optional<Trial> best;           // over its arms
  std::optional<Trial> default_trial;  // the config that is served without tuning: its first arm's default
  std::int64_t trials = 0;
};

struct SweepResult {
  std::vector<SweptShape> shapes;  // by shape_number
  SweepProgress totals;
  std::int64_t helpings = 0;
  CompileStats compile;
  double device_busy_seconds = 0;
  bool interrupted = false;
  bool out_of_time = false;
  std::vector<std::string> failures;  // arms that were given up, one line each
};

// An Error means that it could not start or go on (database gone, disk full, several arms in a row failed);
// what was stored until then stays. `packs` are seeds. `stop` may be set by a signal handler.
Result<SweepResult> sweep(const std::vector<SweepArm>& arms, CompilePool& compiler, TrialStore& store,
                          const Packs& packs, const SweepOptions& options, const std::atomic<bool>& stop,
                          const std::function<void(const SweepProgress&)>& progress);

// What the store knows of the shapes, whoever measured it, as the result of a sweep that measures nothing.
Result<SweepResult> sum_up_sweep(const std::vector<SweepArm>& arms, CompilePool& compiler, TrialStore& store,
                                 const SweepOptions& options);

}  // namespace attune
