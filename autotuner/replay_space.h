// A recorded space made ready for many replays: ours (recording.h), or another tuner's (foreign_space.h).
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "autotuner/recording.h"
#include "autotuner/space.h"
#include "autotuner/strategy.h"
#include "base/result.h"

namespace attune {

// What one config was found to be.
struct RecordedTrial {
  Outcome outcome = Outcome::ok;
  std::optional<double> median_us;
  double compile_seconds = 0;  // of one thread
  double measure_seconds = 0;
};

// Immutable after construction; thread safe.
class ReplaySpace {
 public:
  // Configs outside `space` are left out. An error: none is left, or none ran.
  static Result<ReplaySpace> make(std::string name, std::string device, Space space,
                                  const std::vector<std::pair<Config, RecordedTrial>>& trials);

  // `space` is the template's for the recording's shape and device; `start` (its default config) is tried
  // first where it was recorded.
  static Result<ReplaySpace> make(const Space& space, const Recording& recording,
                                  const std::optional<Config>& start);

  const std::string& name() const { return name_; }
  const std::string& device() const { return device_; }
  const Space& space() const { return space_; }
  const std::vector<Point>& start() const { return start_; }

  // Of a point of the space.
  const RecordedTrial& trial(const Point& point) const { return trials_.at(point); }
  Observation observe(const Point& point) const;

  // All configs' times, fastest first; a failed one counts as the slowest that ran.
  const std::vector<double>& sorted_us() const { return sorted_us_; }
  double optimum_us() const { return sorted_us_.front(); }
  std::size_t failed() const { return failed_; }

 private:
  ReplaySpace(std::string name, std::string device, Space space)
      : name_(std::move(name)), device_(std::move(device)), space_(std::move(space)) {}

  std::string name_;
  std::string device_;
  Space space_;
  std::vector<Point> start_;
  std::unordered_map<Point, RecordedTrial, PointHash> trials_;
  std::vector<double> sorted_us_;
  std::size_t failed_ = 0;
};

}  // namespace attune
