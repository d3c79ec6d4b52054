// A stand-in for a measured recording where a test needs a large one: times of the portable template from a
// rough model of a GPU (tiles against registers and shared memory, waves, pipelining, L2, and 1% of noise
// that is the same each time). Nothing about a real GPU follows from it.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "autotuner/recording.h"
#include "templates/attention_template.h"

namespace attune::testing_recordings {

inline double modelled_us(const Config& c, const Shape& shape, const DeviceFacts& device) {
  const auto m = static_cast<double>(c.integer("block_m"));
  const auto n = static_cast<double>(c.integer("block_n"));
  const auto warps = static_cast<double>(c.integer("num_warps"));
  const auto split = static_cast<double>(c.integer("kv_split"));
  const auto stages = static_cast<double>(c.integer("num_stages"));
  const auto d = static_cast<double>(shape.head_dim);
  const double smem = 2 * d * (m + 2 * n * stages);
  double registers = 40 + m / (16 * warps / split) * (d + n) / 8;
  if (c.text("q_in") == "registers") registers += d / 4 * m / (16 * warps / split) / 2;
  const auto cap = static_cast<double>(c.integer("maxnreg"));
  const double spilled = cap > 0 ? std::max(0.0, registers - cap) : std::max(0.0, registers - 255);
  if (cap > 0) registers = std::min(registers, cap);
  const double ctas =
      std::max(1.0, std::floor(std::min({static_cast<double>(device.smem_per_sm_bytes) / smem,
                                         65536 / (registers * warps * 32), 2048 / (warps * 32)})));
  const double active = ctas * warps;
  double efficiency = 0.75 * active / (active + 4) * m / (m + 24) * n / (n + 16) * (split > 1 ? 0.93 : 1);
  efficiency *= 1 - 0.25 / (stages * stages * ctas) - spilled * 0.004;
  efficiency *= 1 + 0.02 * std::log2(static_cast<double>(c.integer("unroll"))) * (registers < 160 ? 1 : -1);
  if (c.integer("lazy_rescale") > 0) efficiency *= d >= 96 ? 1.04 : 0.99;
  if (c.text("q_in") == "registers") efficiency *= registers < 200 ? 1.03 : 0.95;
  if (c.text("evict_k") == "last" && c.text("evict_q") == "first") efficiency *= 1.015;
  if (c.text("loop_order") == "[1,0]") efficiency *= shape.causal() ? 0.97 : 1.02;
  const double tiles =
      std::ceil(static_cast<double>(shape.q_len) / m) * static_cast<double>(shape.batch * shape.q_heads);
  double slots = ctas * device.sm_count;
  double tail = std::ceil(tiles / slots) * slots / tiles;
  if (c.text("pid_type") != "flat") {
    const double multiple = static_cast<double>(c.integer("num_sm_multiplier"));
    slots = std::min(slots, multiple * device.sm_count);
    tail = multiple > ctas ? 1.3 : 0.5 + 0.5 * std::ceil(tiles / slots) * slots / tiles;
  }
  if (c.has("row_order") && c.text("row_order") != "ascending") tail = 0.9 * tail + 0.05;
  const double noise =
      1 + 0.01 * (static_cast<double>(
                      std::hash<std::string>()(fmt::format("{}{}{}{}", m, n, registers, tail)) % 1000) /
                      500 -
                  1);
  const double peak = 600e6 * static_cast<double>(device.sm_count) / 132;  // FLOP a microsecond
  return attention_flops(shape) / peak / std::max(0.02, efficiency) * tail * noise + 3;
}

inline Recording modelled_recording(const std::string& name, const Space& space, const Shape& shape,
                                    const DeviceFacts& device) {
  Recording recording;
  recording.info.name = name;
  recording.info.shape = shape;
  recording.info.device = device;
  space.for_each([&](const Point& point) {
    const Config config = space.config(point);
    Trial trial;
    trial.shape = shape;
    trial.template_name = "portable";
    trial.device = device;
    trial.config_json = space.canonical(point);
    trial.config_hash = config_hash(trial.config_json);
    trial.compile_ms = 200 + static_cast<double>(config.integer("block_n") * config.integer("unroll"));
    const double us = modelled_us(config, shape, device);
    const bool fails =
        config.integer("block_m") * config.integer("block_n") >= 16384 && config.integer("unroll") > 2;
    trial.outcome = fails ? Outcome::spilled : Outcome::ok;
    if (!fails) trial.timing = Timing{.median_us = us, .min_us = us, .spread_us = 1, .samples = 30};
    recording.trials.push_back(std::move(trial));
    return true;
  });
  recording.info.trials = recording.trials.size();
  return recording;
}

}  // namespace attune::testing_recordings
