// A small space and a recording of it, as if measured on an H100.
#pragma once

#include <string>
#include <vector>

#include "autotuner/recording.h"

namespace attune::testing_recordings {

inline Space recorded_template_space() {
  SpaceDefinition definition;
  const auto axis = [](const std::string& name, const std::string& pointer,
                       std::vector<std::int64_t> values) {
    Axis made{name, pointer, {}, ""};
    for (const std::int64_t value : values) made.values.emplace_back(value);
    return made;
  };
  definition.axes = {axis("block_m", "/block_sizes/0", {16, 32, 64, 128, 256}),
                     axis("block_n", "/block_sizes/1", {16, 32, 64, 96, 128}),
                     axis("num_warps", "/num_warps", {1, 2, 4, 8}),
                     axis("num_stages", "/num_stages", {1, 2, 3, 4})};
  definition.rules = {
      {"tile", {"block_m", "block_n"}, [](const Config& config) -> std::optional<std::string> {
         if (config.integer("block_m") * config.integer("block_n") <= 16384) return std::nullopt;
         return "too large";
       }}};
  return Space(definition);
}

// Trials of all legal configs with 4 or 8 warps; every tenth fails in one way or another.
inline std::vector<Trial> recorded_trials(const Space& space) {
  const Outcome failures[] = {Outcome::compile_error, Outcome::spilled,      Outcome::launch_fault,
                              Outcome::timeout,       Outcome::wrong_answer, Outcome::does_not_fit};
  std::vector<Trial> trials;
  space.for_each([&](const Point& point) {
    const Config config = space.config(point);
    if (config.integer("num_warps") < 4) return true;
    Trial trial;
    trial.shape = {.batch = 1, .q_heads = 14, .kv_heads = 2, .q_len = 512, .kv_len = 512, .head_dim = 64};
    trial.template_name = "portable";
    trial.template_hash = "0123456789abcdef0123456789abcdef";
    trial.config_json = space.canonical(point);
    trial.config_hash = config_hash(trial.config_json);
    trial.device = *nominal_facts("sm_90a");
    trial.device.name = "NVIDIA H100 80GB HBM3";
    trial.device.driver = "580.159.04";
    trial.nvrtc_version = "13.0";
    trial.strategy = "exhaustive";
    trial.session = "s1";
    trial.created_at = "2026-11-22T01:25:48Z";
    trial.cubin_key = "a-key";
    trial.compile_ms = 340.25 + static_cast<double>(trials.size());
    if (trials.size() % 10 == 9) {
      trial.outcome = failures[trials.size() / 10 % 6];
      trial.message = "planted: \"quoted\"\nsecond line";
    } else {
      trial.outcome = trials.size() % 10 == 8 ? Outcome::slow : Outcome::ok;
      const double us = 100 +
                        1e6 / static_cast<double>(config.integer("block_m") * config.integer("block_n")) +
                        10.0 * static_cast<double>(config.integer("num_stages")) + 0.1234567;
      trial.timing = Timing{.median_us = us, .min_us = us * 0.99, .spread_us = 0.5, .samples = 30};
      trial.relative_error = 2.0345678e-3;
      trial.max_abs_error = 1.2e-2;
      trial.registers = 168;
      trial.smem_bytes = 98304;
      trial.cubin_hash = config_hash(trial.config_json + "cubin");
      trial.sm_clock_mhz = 1980;
      trial.throttle = "";
    }
    trials.push_back(std::move(trial));
    return true;
  });
  return trials;
}

inline RecordingOrigin recorded_origin() {
  return {.command = "attune tune --strategy exhaustive",
          .commit = "0fd8907",
          .axes = {{"num_warps", {"4", "8"}}}};
}

}  // namespace attune::testing_recordings
