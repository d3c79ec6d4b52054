#include "autotuner/recorded_device.h"

#include <fmt/format.h>

#include <utility>

namespace attune {

RecordedDevice::RecordedDevice(Recording recording) : recording_(std::move(recording)) {
  for (std::size_t i = 0; i < recording_.trials.size(); ++i) by_hash_[recording_.trials[i].config_hash] = i;
}

const Trial* RecordedDevice::find(const std::string& config_hash) const {
  const auto it = by_hash_.find(config_hash);
  return it == by_hash_.end() ? nullptr : &recording_.trials[it->second];
}

Result<Measurement> RecordedDevice::recorded(const Candidate& candidate) const {
  const Trial* trial = find(candidate.config_hash);
  if (trial == nullptr) {
    return fail("recording {} has no trial of config {}; only what was recorded can be replayed",
                recording_.info.name, candidate.config_json);
  }
  Measurement measurement{.outcome = trial->outcome,
                          .message = trial->message,
                          .timing = trial->timing,
                          .relative_error = trial->relative_error,
                          .max_abs_error = trial->max_abs_error,
                          .sm_clock_mhz = trial->sm_clock_mhz,
                          .throttle = trial->throttle};
  if (trial->outcome == Outcome::slow && trial->timing) {
    measurement.outcome = Outcome::ok;
    measurement.message =
        fmt::format("of {} samples: the recorded search dropped it", trial->timing->samples);
  }
  return measurement;
}

Result<Measurement> RecordedDevice::evaluate(const Candidate& candidate, std::optional<double>) {
  if (const Trial* trial = find(candidate.config_hash)) {
    const ModelledCost cost = cost_of(*trial);
    cost_.compile_seconds += cost.compile_seconds;
    cost_.measure_seconds += cost.measure_seconds;
  }
  return recorded(candidate);
}

Result<std::vector<Measurement>> RecordedDevice::shoot_out(const std::vector<Candidate>& candidates, int) {
  std::vector<Measurement> measurements;
  for (const Candidate& candidate : candidates) {
    Result<Measurement> measurement = recorded(candidate);
    if (!measurement) return measurement.error();
    measurements.push_back(*std::move(measurement));
  }
  return measurements;
}

ModelledCost cost_of(const Trial& trial) {
  ModelledCost cost{.compile_seconds = trial.compile_ms * 1e-3, .measure_seconds = 0};
  if (trial.timing) cost.measure_seconds = trial.timing->samples * trial.timing->median_us * 1e-6;
  return cost;
}

}  // namespace attune
