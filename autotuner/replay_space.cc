#include "autotuner/replay_space.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "autotuner/recorded_device.h"

namespace attune {

Result<ReplaySpace> ReplaySpace::make(std::string name, std::string device, Space space,
                                      const std::vector<std::pair<Config, RecordedTrial>>& trials) {
  std::vector<Point> points;
  std::vector<const RecordedTrial*> found;
  for (const auto& [config, trial] : trials) {
    Result<Point> point = space.point(config);
    if (!point) continue;
    points.push_back(*std::move(point));
    found.push_back(&trial);
  }
  if (points.empty()) return fail("recording {} has no config of its space", name);
  ReplaySpace replay(std::move(name), std::move(device), space.limited_to(points));
  double slowest = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const RecordedTrial& trial = *found[i];
    if (!replay.trials_.emplace(points[i], trial).second) continue;
    if (trial.median_us) {
      slowest = std::max(slowest, *trial.median_us);
      replay.sorted_us_.push_back(*trial.median_us);
    } else {
      ++replay.failed_;
    }
  }
  if (replay.sorted_us_.empty()) return fail("recording {} has no config that ran", replay.name_);
  replay.sorted_us_.resize(replay.trials_.size(), slowest);
  std::sort(replay.sorted_us_.begin(), replay.sorted_us_.end());
  return replay;
}

Result<ReplaySpace> ReplaySpace::make(const Space& space, const Recording& recording,
                                      const std::optional<Config>& start) {
  Result<Space> recorded = recorded_space(space, recording);
  if (!recorded) return recorded.error();
  std::vector<std::pair<Config, RecordedTrial>> trials;
  for (const Trial& trial : recording.trials) {
    auto config = config_from_json(nlohmann::json::parse(trial.config_json), recorded->definition());
    if (!config) continue;
    const ModelledCost cost = cost_of(trial);
    RecordedTrial entry{trial.outcome, {}, cost.compile_seconds, cost.measure_seconds};
    if (trial.timing) entry.median_us = trial.timing->median_us;
    trials.emplace_back(*std::move(config), entry);
  }
  auto replay = make(recording.info.name, recording.info.device.name, *std::move(recorded), trials);
  if (replay && start) {
    if (const Result<Point> point = replay->space_.point(*start)) replay->start_.push_back(*point);
  }
  return replay;
}

Observation ReplaySpace::observe(const Point& point) const {
  const RecordedTrial& found = trial(point);
  return {.point = point,
          .outcome = found.outcome,
          .median_us = found.median_us,
          .seconds = found.compile_seconds + found.measure_seconds};
}

}  // namespace attune
