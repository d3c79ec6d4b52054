#include "autotuner/sweep.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "autotuner/warm_start.h"
#include "autotuner/watched_store.h"
#include "cache/lookup.h"

namespace attune {
namespace {

using Clock = std::chrono::steady_clock;

// One arm that fails may be a shape beyond the GPU's memory; so many in a row are a lost GPU.
constexpr int kFailuresInARow = 3;
constexpr double kLeastSecondsOfHelping = 1;  // of a first helping, however short the budget

std::size_t shapes_of(const std::vector<SweepArm>& arms) {
  std::size_t shapes = 0;
  for (const SweepArm& arm : arms) shapes = std::max(shapes, arm.shape_number + 1);
  return shapes;
}

class SweepRun {
 public:
  SweepRun(const std::vector<SweepArm>& arms, CompilePool& compiler, TrialStore& store, const Packs& packs,
           const SweepOptions& options, const std::atomic<bool>& stop,
           const std::function<void(const SweepProgress&)>& progress)
      : arms_(arms),
        compiler_(compiler),
        store_(store),
        packs_(packs),
        options_(options),
        stop_(stop),
        progress_(progress),
        schedule_(options.schedule) {}

  Status take_up_stored() {
    result_.totals.shapes = shapes_of(arms_);
    for (const SweepArm& arm : arms_) {
      const std::size_t number = schedule_.add_arm(arm.shape_number, arm.weight);
      if (options_.remeasure) continue;
      const auto standing = standing_of(arm);
      if (!standing) return standing.error();
      schedule_.start(number, *standing);
      result_.totals.stored += standing->trials;
    }
    return {};
  }

  Status serve_all() {
    std::vector<std::thread> threads;
    for (int worker = 1; worker < options_.workers; ++worker)
      threads.emplace_back([this, worker] { work(worker); });
    work(0);
    for (std::thread& thread : threads) thread.join();
    if (fatal_) return *fatal_;
    return {};
  }

  Result<SweepResult> result() {
    result_.shapes.resize(result_.totals.shapes);
    for (const SweepArm& arm : arms_) {
      if (auto status = sum_up(arm, result_.shapes[arm.shape_number]); !status) return status.error();
    }
    result_.totals.shapes_served = shapes_served();
    result_.totals.elapsed_seconds = elapsed();
    result_.totals.arm = nullptr;
    result_.interrupted = stop_.load();
    result_.compile = compiler_.stats();
    return std::move(result_);
  }

 private:
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }
  double seconds_left() const { return options_.max_seconds - elapsed(); }

  TrialFilter filter_of(const SweepArm& arm) const {
    TrialFilter filter;
    filter.shape = arm.shape;
    filter.template_name = arm.tmpl->name();
    filter.template_hash = arm.tmpl->hash();
    filter.gpu_name = arm.device.name;
    filter.arch = arm.device.arch;
    filter.replayed = arm.replays;
    filter.policy = options_.policy;
    return filter;
  }

  bool is_stale(const Trial& trial, const SweepArm& arm) const {
    return !staleness(trial, arm.device, compiler_.nvrtc_version()).empty();
  }

  // Configs tried under today's driver and NVRTC, and the best. Others may be measuring the same arm.
  Result<SweepSchedule::Standing> standing_of(const SweepArm& arm) const {
    const auto trials = store_.trials(filter_of(arm));
    if (!trials) return trials.error();
    std::set<std::string> configs;
    for (const Trial& trial : *trials) {
      if (!is_stale(trial, arm)) configs.insert(trial.config_hash);
    }
    const auto best = store_.best(filter_of(arm));
    if (!best) return best.error();
    SweepSchedule::Standing standing;
    standing.trials = static_cast<std::int64_t>(configs.size());
    if (*best) {
      standing.best_us = (*best)->timing->median_us;
      standing.compared = (arm.replays || (*best)->final_round) && !is_stale(**best, arm);
    }
    return standing;
  }

  void work(int worker) {
    while (const auto helping = take(worker)) {
      auto outcome = serve(*helping, worker);
      const std::lock_guard lock(mutex_);
      note(*helping, worker, std::move(outcome));
    }
  }

  std::optional<SweepSchedule::Helping> take(int worker) {
    const std::lock_guard lock(mutex_);
    if (fatal_ || stop_.load()) return {};
    if (options_.max_seconds > 0 && seconds_left() <= 0) {
      result_.out_of_time = true;
      return {};
    }
    return schedule_.next(worker);
  }

  // The seconds a helping may take: of the first ones each has its share, so that all get theirs.
  double seconds_for(const SweepSchedule::Helping& helping) {
    if (options_.max_seconds <= 0) return 0;
    const std::lock_guard lock(mutex_);
    const double left = std::max(seconds_left(), kLeastSecondsOfHelping);
    if (!helping.first) return left;
    const double waiting = static_cast<double>(schedule_.first_helpings_left() + 1) / options_.workers;
    return std::clamp(left / std::max(waiting, 1.0), kLeastSecondsOfHelping, left);
  }

  struct Served {
    TuneResult tuned;
    SweepSchedule::Standing standing;
    bool exhausted = false;
    double seconds = 0;
  };

  // Unlocked: the tune itself.
  Result<Served> serve(const SweepSchedule::Helping& helping, int worker) {
    const auto begin = Clock::now();
    const SweepArm& arm = arms_[helping.arm];
    const auto space = arm.space();
    if (!space) return space.error();
    const auto device = arm.open(worker);
    if (!device) return device.error();
    TuneOptions tune_options;
    tune_options.strategy = options_.strategy;
    tune_options.policy = options_.policy;
    tune_options.tell_stored = true;
    tune_options.remeasure = options_.remeasure && helping.first;
    tune_options.max_trials = helping.trials;
    tune_options.max_seconds = seconds_for(helping);
    const auto before = standing_of(arm);
    if (!before) return before.error();
    // Another helping, another path; from the same state the same one.
    tune_options.seed = options_.seed + static_cast<std::uint64_t>(before->trials);
    tune_options.start =
        warm_start(store_, packs_, arm.shape, *arm.tmpl, *space, arm.device, options_.policy);
    auto tuned = tune(arm.shape, *arm.tmpl, *space, **device, compiler_, store_, tune_options, stop_, {});
    if (!tuned) return tuned.error();
    const auto standing = standing_of(arm);
    if (!standing) return standing.error();
    Served served{*std::move(tuned), *standing, false,
                  std::chrono::duration<double>(Clock::now() - begin).count()};
    const TuneProgress& totals = served.tuned.totals;
    const bool in_time = tune_options.max_seconds == 0 || totals.elapsed_seconds < tune_options.max_seconds;
    served.exhausted =
        totals.trials - totals.resumed < helping.trials && in_time && !served.tuned.interrupted;
    return served;
  }

  // Locked.
  void note(const SweepSchedule::Helping& helping, int worker, Result<Served> outcome) {
    const SweepArm& arm = arms_[helping.arm];
    if (!outcome) return give_up(helping.arm, outcome.error());
    failures_in_a_row_ = 0;
    const auto before = schedule_.best_us(arm.shape_number);
    schedule_.done(helping.arm, outcome->standing, outcome->seconds, outcome->exhausted);
    ++result_.helpings;
    result_.device_busy_seconds += outcome->tuned.gpu_busy_seconds;
    SweepProgress& totals = result_.totals;
    totals.trials += outcome->tuned.totals.trials - outcome->tuned.totals.resumed;
    totals.shapes_served = shapes_served();
    totals.elapsed_seconds = elapsed();
    totals.arm = &arm;
    totals.worker = worker;
    totals.best_us = schedule_.best_us(arm.shape_number);
    totals.gain.reset();
    if (before && totals.best_us) totals.gain = *before / *totals.best_us - 1;
    if (progress_) progress_(totals);
  }

  // Locked.
  std::size_t shapes_served() const {
    std::size_t served = 0;
    for (std::size_t shape = 0; shape < result_.totals.shapes; ++shape)
      served += schedule_.best_us(shape).has_value();
    return served;
  }

  // Locked. A store that takes nothing any more ends the sweep at once.
  void give_up(std::size_t number, const Error& error) {
    const SweepArm& arm = arms_[number];
    schedule_.failed(number);
    result_.failures.push_back(
        fmt::format("{} ({}): {}", to_string(arm.shape), arm.tmpl->name(), error.message));
    if (store_.failure()) {
      fatal_ = store_.failure();
    } else if (++failures_in_a_row_ >= kFailuresInARow || result_.failures.size() == arms_.size()) {
      fatal_ = fail("{}: {}", to_string(arm.shape), error.message);
    }
  }

  Status sum_up(const SweepArm& arm, SweptShape& swept) const {
    const auto trials = store_.trials(filter_of(arm));
    if (!trials) return trials.error();
    const auto best = store_.best(filter_of(arm));
    if (!best) return best.error();
    const auto rank = [](const Trial& trial) {
      return std::pair(!trial.final_round, trial.timing->median_us);
    };
    if (*best && (!swept.best || rank(**best) < rank(*swept.best))) swept.best = **best;
    std::set<std::string> configs;
    for (const Trial& trial : *trials) configs.insert(trial.config_hash);
    swept.trials += static_cast<std::int64_t>(configs.size());
    if (swept.default_trial) return {};
    const std::string hash = config_hash(canonical_json(arm.tmpl->default_config(arm.shape, arm.device),
                                                        arm.tmpl->space(arm.shape, arm.device)));
    for (const Trial& trial : *trials) {  // oldest first: the newest word stands
      if (trial.config_hash == hash && trial.timing) swept.default_trial = trial;
    }
    return {};
  }

  const std::vector<SweepArm>& arms_;
  CompilePool& compiler_;
  WatchedStore store_;
  const Packs& packs_;
  const SweepOptions& options_;
  const std::atomic<bool>& stop_;
  const std::function<void(const SweepProgress&)>& progress_;
  const Clock::time_point begin_ = Clock::now();

  std::mutex mutex_;  // all below
  SweepSchedule schedule_;
  SweepResult result_;
  int failures_in_a_row_ = 0;
  std::optional<Error> fatal_;
};

}  // namespace

Result<SweepResult> sweep(const std::vector<SweepArm>& arms, CompilePool& compiler, TrialStore& store,
                          const Packs& packs, const SweepOptions& options, const std::atomic<bool>& stop,
                          const std::function<void(const SweepProgress&)>& progress) {
  if (arms.empty()) return fail("there is nothing to sweep");
  SweepRun run(arms, compiler, store, packs, options, stop, progress);
  if (auto status = run.take_up_stored(); !status) return status.error();
  if (auto status = run.serve_all(); !status) return status.error();
  return run.result();
}

Result<SweepResult> sum_up_sweep(const std::vector<SweepArm>& arms, CompilePool& compiler, TrialStore& store,
                                 const SweepOptions& options) {
  const std::atomic<bool> never{false};
  SweepOptions as_stored = options;
  as_stored.remeasure = false;
  const Packs no_packs;
  const std::function<void(const SweepProgress&)> no_progress;
  SweepRun run(arms, compiler, store, no_packs, as_stored, never, no_progress);
  if (auto status = run.take_up_stored(); !status) return status.error();
  return run.result();
}

}  // namespace attune
