#include "autotuner/sweep_schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace attune {
namespace {

// A first helping finds most of what there is; hope for the n-th more is so much over n.
constexpr double kHope = 0.10;
constexpr double kShareOfGain = 0.5;
constexpr double kLeastSecondsCounted = 0.05;  // replays take next to none

}  // namespace

ScheduleOptions portions(std::int64_t max_trials) {
  ScheduleOptions schedule;
  schedule.max_trials = max_trials;
  if (max_trials > 0)
    schedule.first_trials = std::clamp<std::int64_t>(max_trials / 3, 1, schedule.first_trials);
  return schedule;
}

std::size_t SweepSchedule::add_arm(std::size_t shape, double weight) {
  Arm arm;
  arm.shape = shape;
  arm.weight = weight;
  arm.place = static_cast<std::size_t>(
      std::count_if(arms_.begin(), arms_.end(), [shape](const Arm& other) { return other.shape == shape; }));
  arms_.push_back(arm);
  owners_.resize(std::max(owners_.size(), shape + 1));
  return arms_.size() - 1;
}

void SweepSchedule::start(std::size_t arm, const Standing& standing) {
  Arm& it = arms_[arm];
  it.standing = standing;
  if (standing.trials >= options_.first_trials && standing.compared) it.helpings = 1;
}

void SweepSchedule::done(std::size_t arm, const Standing& standing, double seconds, bool exhausted) {
  Arm& it = arms_[arm];
  const bool had = it.standing.best_us.has_value();
  it.gain = had && standing.best_us ? std::max(0.0, std::log(*it.standing.best_us / *standing.best_us)) : 0;
  it.standing = standing;
  it.seconds = std::max(seconds, kLeastSecondsCounted);
  ++it.helpings;
  it.over = it.over || exhausted;
  it.running = false;
}

void SweepSchedule::failed(std::size_t arm) {
  arms_[arm].over = true;
  arms_[arm].running = false;
}

std::int64_t SweepSchedule::trials_left(const Arm& arm) const {
  if (options_.max_trials == 0) return std::numeric_limits<std::int64_t>::max();
  std::int64_t spent = 0;
  for (const Arm& other : arms_) {
    if (other.shape == arm.shape) spent += other.standing.trials;
  }
  return std::max<std::int64_t>(0, options_.max_trials - spent);
}

// One helping of a shape at a time: its arms share a budget and a GPU.
bool SweepSchedule::open_to(const Arm& arm, int worker) const {
  if (arm.over) return false;
  const auto& owner = owners_[arm.shape];
  if (owner && *owner != worker) return false;
  return std::none_of(arms_.begin(), arms_.end(),
                      [&](const Arm& other) { return other.shape == arm.shape && other.running; });
}

double SweepSchedule::promise(const Arm& arm) const {
  double lacks = 0;
  const auto best = best_us(arm.shape);
  if (best) lacks = arm.standing.best_us ? std::log(*arm.standing.best_us / *best) : kHope;
  const double gain = kShareOfGain * arm.gain + kHope / arm.helpings - lacks;
  return arm.weight * gain / arm.seconds;
}

std::optional<SweepSchedule::Helping> SweepSchedule::next(int worker) {
  Arm* chosen = nullptr;
  for (Arm& arm : arms_) {  // first helpings, first arms of all shapes before second ones
    if (arm.helpings > 0 || !open_to(arm, worker)) continue;
    // What is left of an interrupted first helping is served even where it is the final round alone.
    if (trials_left(arm) == 0 && arm.standing.compared) continue;
    if (!chosen || arm.place < chosen->place) chosen = &arm;
  }
  Helping helping;
  helping.first = chosen != nullptr;
  if (!chosen) {
    for (Arm& arm : arms_) {
      if (arm.helpings == 0 || !open_to(arm, worker) || trials_left(arm) == 0 || promise(arm) <= 0) continue;
      if (!chosen || promise(arm) > promise(*chosen)) chosen = &arm;
    }
  }
  if (!chosen) return std::nullopt;
  const std::int64_t portion =
      helping.first ? options_.first_trials - chosen->standing.trials : options_.helping;
  helping.trials = std::max<std::int64_t>(1, std::min(portion, trials_left(*chosen)));
  helping.arm = static_cast<std::size_t>(chosen - arms_.data());
  chosen->running = true;
  owners_[chosen->shape] = worker;
  return helping;
}

std::size_t SweepSchedule::first_helpings_left() const {
  return static_cast<std::size_t>(std::count_if(arms_.begin(), arms_.end(), [](const Arm& arm) {
    return arm.helpings == 0 && !arm.over && !arm.running;
  }));
}

std::optional<double> SweepSchedule::best_us(std::size_t shape) const {
  std::optional<double> best;
  for (const Arm& arm : arms_) {
    if (arm.shape == shape && arm.standing.best_us && (!best || *arm.standing.best_us < *best))
      best = arm.standing.best_us;
  }
  return best;
}

}  // namespace attune
