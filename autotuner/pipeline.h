// From config to finished trial: compile threads run ahead of one device thread, and neither waits for the
// other. Trials come out in the order in which they end.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autotuner/device.h"
#include "base/result.h"
#include "cache/trial.h"
#include "compiler/compile_pool.h"
#include "templates/attention_template.h"

namespace attune {

// What all trials of one search have in common.
struct SearchIdentity {
  Shape shape;
  std::string template_name;
  std::string template_hash;
  DeviceFacts device;
  bool replayed = false;
  std::string nvrtc_version;
  MeasurementPolicy policy;
  std::string strategy;
  std::string session;

  // A trial with the common fields set.
  Trial trial(const std::string& config_json) const;
};

// What the device needs to launch a trial's kernel.
Candidate make_candidate(const Trial& trial, const Config& config, const CompiledKernel& kernel,
                         const LaunchSpec& launch, const CubinStore& store);

// Used from one thread (the tune loop's).
class Pipeline {
 public:
  // `tmpl`, `device` and `compiler` must outlive the pipeline.
  Pipeline(SearchIdentity identity, const AttentionTemplate& tmpl, Device& device, CompilePool& compiler);
  ~Pipeline();  // as finish(), what has ended is lost

  // `ticket` comes back with the finished trial.
  void submit(std::int64_t ticket, const Config& config, const std::string& config_json);

  struct Finished {
    std::int64_t ticket = 0;
    Trial trial;
  };

  // What has ended since the last call; waits until there is something, or until the deadline. An Error means
  // that the search cannot go on: the device is gone, or compiled kernels cannot be kept.
  Result<std::vector<Finished>> wait_until(std::chrono::steady_clock::time_point deadline);

  // Starts nothing more, waits for the evaluation under way, and gives what has ended and was not taken yet.
  // From then on the device is free for others.
  std::vector<Finished> finish();

  // A time to drop clear losers against, known from earlier.
  void set_incumbent(double median_us);

  double device_busy_seconds() const;

  // In which the device measured or every compile thread had work, until finish(). Where others use the
  // compile threads as well, their part is missing.
  double at_limit_seconds() const;

 private:
  class State;
  std::shared_ptr<State> state_;  // shared with compile callbacks that may outlive the pipeline
};

}  // namespace attune
