// A device that replays a recording: verdicts and times are those that a real GPU once gave.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "autotuner/device.h"
#include "autotuner/recording.h"

namespace attune {

// What the replayed trials cost on the machine that recorded them, for comparing strategies by time.
struct ModelledCost {
  double compile_seconds = 0;  // of one compile thread
  double measure_seconds = 0;  // samples times median
};

class RecordedDevice final : public Device {
 public:
  explicit RecordedDevice(Recording recording);

  const RecordingInfo& info() const { return recording_.info; }
  const DeviceFacts& facts() const override { return recording_.info.device; }
  bool replays() const override { return true; }

  // The recorded outcome, whatever the incumbent: a replay of the same proposals gives the same trials. What
  // was dropped as slow had been verified and timed, beside the best of another search: here it has passed,
  // with the few samples it had. A config that was not recorded is an Error (search only recorded_space()).
  Result<Measurement> evaluate(const Candidate& candidate, std::optional<double> incumbent_us) override;
  Result<std::vector<Measurement>> shoot_out(const std::vector<Candidate>& candidates, int rounds) override;

  // The trial of a config, or nullptr: for replays that need no compiler.
  const Trial* find(const std::string& config_hash) const;

  const ModelledCost& modelled_cost() const { return cost_; }  // of all evaluate() calls so far

 private:
  Result<Measurement> recorded(const Candidate& candidate) const;

  Recording recording_;
  std::unordered_map<std::string, std::size_t> by_hash_;
  ModelledCost cost_;
};

ModelledCost cost_of(const Trial& trial);

}  // namespace attune
