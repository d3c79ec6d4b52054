// The seam to the GPU: something that verifies and times compiled candidates. Implementations: a GPU behind a
// worker process (gpu_device.h), a recorded device (recorded_device.h), and the tests' fake.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/device_facts.h"
#include "base/result.h"
#include "base/shape.h"
#include "cache/trial.h"
#include "templates/attention_template.h"
#include "templates/config.h"

namespace attune {

// A compiled config, ready to be launched.
struct Candidate {
  std::string config_json;
  std::string config_hash;
  Config config;
  std::string cubin_path;  // in the cubin store
  std::string cubin_hash;
  std::string entry;
  LaunchSpec launch;
};

// What one evaluation found out. Never lost: faults and hangs come back as outcomes.
struct Measurement {
  Outcome outcome = Outcome::launch_fault;
  std::string message;
  std::optional<Timing> timing;
  std::optional<double> relative_error;
  std::optional<double> max_abs_error;
  std::optional<int> sm_clock_mhz;
  std::optional<std::string> throttle;
};

// Used from one thread at a time. A device is opened for one shape and one template.
class Device {
 public:
  virtual ~Device() = default;

  virtual const DeviceFacts& facts() const = 0;
  virtual bool replays() const = 0;  // times come from a recording

  // Verifies, then times in rungs: a few samples first, dropped as Outcome::slow when clearly slower than
  // `incumbent_us` (no dropping without one), else the full number. An Error means that the device itself is
  // gone (too many worker deaths, GPU lost): the search cannot go on.
  virtual Result<Measurement> evaluate(const Candidate& candidate, std::optional<double> incumbent_us) = 0;

  // The final ranking: each candidate is verified harder (large logits, repeats must agree to the bit), then
  // those that pass are timed interleaved, round robin, `rounds` rounds. One measurement each, in order.
  virtual Result<std::vector<Measurement>> shoot_out(const std::vector<Candidate>& candidates,
                                                     int rounds) = 0;
};

}  // namespace attune
