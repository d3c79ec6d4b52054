// The tests' GPU: times by a function of the config, with faults where a test plants them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "autotuner/device.h"

namespace attune {

class FakeDevice final : public Device {
 public:
  explicit FakeDevice(DeviceFacts facts) : facts_(std::move(facts)) {}

  // What the device answers; the default measures 100 us whatever the config.
  std::function<Result<Measurement>(const Candidate&)> on_evaluate = [](const Candidate&) {
    return timed(100);
  };
  std::function<double(const Candidate&)> on_shoot_out;  // microseconds; absent: as on_evaluate
  bool is_recording = false;
  std::vector<std::string> evaluated;  // config hashes in order

  static Measurement timed(double median_us) {
    Measurement measurement;
    measurement.outcome = Outcome::ok;
    measurement.timing = Timing{.median_us = median_us, .min_us = median_us, .spread_us = 0.1, .samples = 9};
    measurement.relative_error = 2e-3;
    measurement.max_abs_error = 1e-3;
    return measurement;
  }

  const DeviceFacts& facts() const override { return facts_; }
  bool replays() const override { return is_recording; }

  Result<Measurement> evaluate(const Candidate& candidate, std::optional<double>) override {
    evaluated.push_back(candidate.config_hash);
    return on_evaluate(candidate);
  }

  Result<std::vector<Measurement>> shoot_out(const std::vector<Candidate>& candidates, int) override {
    std::vector<Measurement> measurements;
    for (const Candidate& candidate : candidates) {
      if (on_shoot_out) {
        measurements.push_back(timed(on_shoot_out(candidate)));
      } else {
        auto measurement = on_evaluate(candidate);
        if (!measurement) return measurement.error();
        measurements.push_back(*measurement);
      }
    }
    return measurements;
  }

 private:
  DeviceFacts facts_;
};

}  // namespace attune
