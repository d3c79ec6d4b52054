// A trial: a config tried on a device, with its outcome and all that was measured.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/device_facts.h"
#include "base/result.h"
#include "base/shape.h"

namespace attune {

enum class Outcome {
  ok,    // verified and measured in full
  slow,  // verified, dropped after a few samples as clearly slower than the best (median_us is of those)
  compile_error,
  spilled,       // compiled with spills or serialized wgmma (C75xx); not launched
  does_not_fit,  // shared memory, registers or threads exceed the device
  launch_fault,  // the launch or the kernel failed (illegal address, ...)
  timeout,       // compile or kernel
  wrong_answer,  // ran, output outside the tolerance
};

std::string_view to_string(Outcome outcome);
Result<Outcome> parse_outcome(std::string_view text);

// How times were taken. Times of different policies are never compared.
struct MeasurementPolicy {
  bool cold_l2 = true;      // L2 flushed before each sample
  bool cuda_graph = false;  // launched through a graph
  bool operator==(const MeasurementPolicy&) const = default;
};

std::string to_string(const MeasurementPolicy& policy);  // "cold-l2/eager"
Result<MeasurementPolicy> parse_policy(std::string_view text);

struct Timing {
  double median_us = 0;
  double min_us = 0;
  double spread_us = 0;  // interquartile range
  int samples = 0;
  bool operator==(const Timing&) const = default;
};

struct Trial {
  std::int64_t id = 0;  // of the row; 0 before it is stored
  Shape shape;
  std::string template_name;
  std::string template_hash;
  std::string config_json;  // canonical
  std::string config_hash;

  DeviceFacts device;
  bool replayed = false;  // timing taken from a recorded device, not measured now
  std::string nvrtc_version;
  MeasurementPolicy policy;

  Outcome outcome = Outcome::compile_error;
  std::string message;                   // why, where the outcome is not ok
  std::optional<Timing> timing;          // present for ok and slow
  std::optional<double> relative_error;  // Frobenius norm of (out - ref32) over that of ref32
  std::optional<double> max_abs_error;

  std::string cubin_key;  // content address in the cubin store; "" if it never compiled
  std::string cubin_hash;
  int registers = 0;
  std::int64_t spill_bytes = 0;
  std::int64_t smem_bytes = 0;  // dynamic and static, a CTA
  double compile_ms = 0;
  std::optional<int> sm_clock_mhz;      // NVML, during the measurement
  std::optional<std::string> throttle;  // NVML's reasons, "" when none

  // Measured side by side with the other finalists of its run, not one by one in the search: such a time
  // outranks any of a search, which drift and luck have bent by a few percent.
  bool final_round = false;

  std::string strategy;    // who proposed it
  std::string session;     // id of the tune run
  std::string created_at;  // UTC, as utc_timestamp() writes it; the store fills it in when ""

  bool operator==(const Trial&) const = default;
};

// Whether the trial can be stored: it names its shape, template, config (canonical JSON) and device, is timed
// exactly when its outcome says so, and its numbers are finite. An error measure may be infinite or NaN (the
// kernel wrote such values); both are kept as infinite.
Status check_trial(const Trial& trial);

}  // namespace attune
