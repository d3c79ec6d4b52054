#include "autotuner/claimed_sweep.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <thread>

#include "autotuner/lease_keeper.h"

namespace attune {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kLeastSecondsOfShape = 1;  // of a shape, however short the budget
constexpr std::chrono::milliseconds kLookAgain{1000};

// The kernels that a shape is tuned through: hosts with others do other work.
std::string templates_of(const std::vector<const SweepArm*>& arms) {
  std::string text;
  for (const SweepArm* arm : arms)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", arm->tmpl->name(), arm->tmpl->hash());
  return text;
}

class ClaimedRun {
 public:
  ClaimedRun(const std::vector<SweepArm>& arms, CompilePool& compiler, TrialStore& store, ClaimBoard& board,
             const Packs& packs, const SweepOptions& options, const ClaimOptions& claims,
             const std::atomic<bool>& stop, const std::function<void(const SweepProgress&)>& progress,
             const std::function<void(const ClaimEvent&)>& events)
      : compiler_(compiler),
        store_(store),
        board_(board),
        packs_(packs),
        options_(options),
        claims_(claims),
        stop_(stop),
        progress_(progress),
        events_(events) {
    std::map<std::size_t, std::vector<const SweepArm*>> by_shape;
    for (const SweepArm& arm : arms) by_shape[arm.shape_number].push_back(&arm);
    for (auto& [number, its] : by_shape) shapes_.push_back(std::move(its));
  }

  Status enlist() {
    std::vector<ClaimSubject> subjects;
    for (const auto& arms : shapes_) {
      const SweepArm& first = *arms.front();
      subjects.push_back({.shape = first.shape,
                          .gpu_name = first.device.name,
                          .arch = first.device.arch,
                          .replayed = first.replays,
                          .policy = options_.policy,
                          .templates = templates_of(arms),
                          .weight = first.weight,
                          .max_trials = options_.schedule.max_trials});
    }
    return board_.enlist(subjects);
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

  const ClaimShare& share() const { return share_; }
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }
  bool out_of_time() const { return options_.max_seconds > 0 && elapsed() >= options_.max_seconds; }
  std::int64_t trials() const { return trials_; }
  std::int64_t helpings() const { return helpings_; }
  double busy_seconds() const { return busy_seconds_; }
  std::vector<std::string>& failures() { return failures_; }

 private:
  void tell(ClaimEvent::Kind kind, int worker, const SweepArm* arm, std::string detail) {
    if (events_) events_({kind, arm, worker, std::move(detail)});
  }

  bool ending() {
    const std::lock_guard lock(mutex_);
    return fatal_.has_value() || stop_.load() || out_of_time();
  }

  void end(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!fatal_) fatal_ = error;
  }

  void work(int worker) {
    while (!ending()) {
      const auto lease = board_.take(claims_.holder, claims_.lease_seconds);
      if (!lease) return end(lease.error());
      if (*lease) {
        if (auto status = serve(**lease, worker); !status) return end(status.error());
        continue;
      }
      const auto counts = board_.counts();
      if (!counts) return end(counts.error());
      if (counts->open == 0 && (counts->held == 0 || !claims_.wait)) return;
      wait_for_others(worker, *counts);
    }
  }

  // Others may finish what they hold, or lose it. Said once each time that it begins.
  void wait_for_others(int worker, const ClaimCounts& counts) {
    {
      const std::lock_guard lock(mutex_);
      if (waiting_for_ != counts.held)
        tell(ClaimEvent::Kind::waiting, worker, nullptr,
             fmt::format("{} of {} shapes are held by others", counts.held,
                         counts.open + counts.held + counts.done + counts.given_up));
      waiting_for_ = counts.held;
    }
    const auto until = Clock::now() + kLookAgain;
    while (Clock::now() < until && !ending()) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }

  // A share of what is left for this shape, so that the others get theirs; 0: no limit.
  double seconds_for() {
    if (options_.max_seconds <= 0) return 0;
    const double left = std::max(options_.max_seconds - elapsed(), kLeastSecondsOfShape);
    const auto counts = board_.counts();
    if (!counts) return left;
    const double waiting =
        static_cast<double>(counts->open) / static_cast<double>(std::max<std::int64_t>(1, counts->held));
    return std::clamp(left / (1 + waiting), kLeastSecondsOfShape, left);
  }

  Status serve(const Lease& lease, int worker) {
    const auto& its = shapes_[lease.subject];
    std::vector<SweepArm> arms;
    for (const SweepArm* arm : its) {
      arms.push_back(*arm);
      arms.back().shape_number = 0;
      arms.back().open = [open = arm->open, worker](int) { return open(worker); };
    }
    SweepOptions options = options_;
    options.workers = 1;
    options.max_seconds = seconds_for();
    {
      const std::lock_guard lock(mutex_);
      waiting_for_ = -1;
      const bool over = !lease.taken_from.empty();
      tell(over ? ClaimEvent::Kind::taken_over : ClaimEvent::Kind::taken, worker, its.front(),
           lease.taken_from);
    }
    LeaseKeeper keeper(board_, lease, claims_.lease_seconds, stop_);
    const auto swept = sweep(arms, compiler_, store_, packs_, options, keeper.stopped(),
                             [&](const SweepProgress& progress) { report(progress, *its.front(), worker); });
    return conclude(lease, worker, keeper, swept);
  }

  // What this host has done so far, as a sweep's progress.
  void report(SweepProgress progress, const SweepArm& arm, int worker) {
    const std::lock_guard lock(mutex_);
    progress.shapes = shapes_.size();
    progress.shapes_served = static_cast<std::size_t>(share_.finished_here);
    progress.trials += trials_;
    progress.elapsed_seconds = elapsed();
    progress.arm = &arm;
    progress.worker = worker;
    if (progress_) progress_(progress);
  }

  // The end of a lease. The server decides whether its word still counts.
  Status conclude(const Lease& lease, int worker, const LeaseKeeper& keeper,
                  const Result<SweepResult>& swept) {
    const bool cut_off = keeper.stopped().load() && !stop_.load();
    Result<bool> said = false;
    ClaimEvent::Kind kind = ClaimEvent::Kind::lost;
    std::string detail;
    if (!keeper.lost()) {
      if (!swept || !swept->failures.empty()) {
        kind = ClaimEvent::Kind::failed;
        detail = swept ? swept->failures.front() : swept.error().message;
        said = board_.fail_it(lease, detail);
      } else if (swept->interrupted || swept->out_of_time) {
        kind = ClaimEvent::Kind::given_back;
        detail = cut_off ? "cut off from the server" : swept->interrupted ? "interrupted" : "out of time";
        said = board_.give_back(lease, detail);
      } else {
        kind = ClaimEvent::Kind::done;
        said = board_.finish(lease);
      }
    }
    const std::lock_guard lock(mutex_);
    if (swept) {
      trials_ += swept->totals.trials;
      helpings_ += swept->helpings;
      busy_seconds_ += swept->device_busy_seconds;
    }
    if (!said) return said.error();
    if (!*said) {
      kind = ClaimEvent::Kind::lost;
      detail = "another host has it now; its trials are kept";
      ++share_.lost_here;
    }
    if (kind == ClaimEvent::Kind::done) ++share_.finished_here;
    if (kind == ClaimEvent::Kind::failed) failures_.push_back(detail);
    tell(kind, worker, shapes_[lease.subject].front(), detail);
    if (swept || !*said) return {};
    return swept.error();  // a device or a store that is gone is gone for the next shape, too
  }

  std::vector<std::vector<const SweepArm*>> shapes_;  // by subject
  CompilePool& compiler_;
  TrialStore& store_;
  ClaimBoard& board_;
  const Packs& packs_;
  const SweepOptions& options_;
  const ClaimOptions& claims_;
  const std::atomic<bool>& stop_;
  const std::function<void(const SweepProgress&)>& progress_;
  const std::function<void(const ClaimEvent&)>& events_;
  const Clock::time_point begin_ = Clock::now();

  std::mutex mutex_;  // all below, and the callbacks
  ClaimShare share_;
  std::int64_t trials_ = 0;
  std::int64_t helpings_ = 0;
  double busy_seconds_ = 0;
  std::int64_t waiting_for_ = -1;
  std::vector<std::string> failures_;
  std::optional<Error> fatal_;
};

}  // namespace

Result<ClaimedSweep> claimed_sweep(const std::vector<SweepArm>& arms, CompilePool& compiler,
                                   TrialStore& store, ClaimBoard& board, const Packs& packs,
                                   const SweepOptions& options, const ClaimOptions& claims,
                                   const std::atomic<bool>& stop,
                                   const std::function<void(const SweepProgress&)>& progress,
                                   const std::function<void(const ClaimEvent&)>& events) {
  if (arms.empty()) return fail("there is nothing to sweep");
  ClaimedRun run(arms, compiler, store, board, packs, options, claims, stop, progress, events);
  if (auto status = run.enlist(); !status) return status.error();
  if (auto status = run.serve_all(); !status) return status.error();
  auto swept = sum_up_sweep(arms, compiler, store, options);
  if (!swept) return swept.error();
  const auto counts = board.counts();
  if (!counts) return counts.error();
  ClaimedSweep outcome{*std::move(swept), run.share()};
  outcome.share.counts = *counts;
  outcome.result.totals.stored -= run.trials();
  outcome.result.totals.trials = run.trials();
  outcome.result.totals.elapsed_seconds = run.elapsed();
  outcome.result.helpings = run.helpings();
  outcome.result.device_busy_seconds = run.busy_seconds();
  outcome.result.interrupted = stop.load();
  outcome.result.out_of_time = run.out_of_time();
  outcome.result.failures = std::move(run.failures());
  return outcome;
}

}  // namespace attune
