// Writes the recordings that the command line's tests replay: real configs of the portable template, invented
// times. They are called synthetic everywhere, so that nobody takes them for measurements.
//
// make_recordings FOLDER         one small shape, one large
// make_recordings FOLDER fleet   six small ones of six head dims, which share no kernels
#include <fmt/core.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "autotuner/recording.h"
#include "autotuner/space.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

// The template's default, varied along the axes named; all else stays as the default has it.
Space varied(const Space& whole, const Config& standard, const std::vector<std::string>& axes) {
  std::map<std::string, std::vector<std::string>> allowed;
  for (const auto& [axis, value] : standard.values()) {
    if (std::find(axes.begin(), axes.end(), axis) == axes.end()) allowed[axis] = {to_string(value)};
  }
  return *whole.restricted(allowed);
}

Trial invented(const Space& space, const Point& point, const Shape& shape, const DeviceFacts& device,
               const AttentionTemplate& tmpl, std::size_t number) {
  Trial trial;
  trial.shape = shape;
  trial.template_name = tmpl.name();
  trial.template_hash = tmpl.hash();
  trial.config_json = space.canonical(point);
  trial.config_hash = config_hash(trial.config_json);
  trial.device = device;
  trial.nvrtc_version = "13.0";
  trial.compile_ms = 300;
  trial.created_at = "2026-01-01T00:00:00Z";
  if (number % 7 == 6) {
    trial.outcome = Outcome::wrong_answer;
    trial.message = "planted by the tests";
    return trial;
  }
  const double us = 1000 + 37.0 * static_cast<double>(number * 31 % 17);
  trial.outcome = Outcome::ok;
  trial.timing = Timing{.median_us = us, .min_us = us - 1, .spread_us = 2, .samples = 20};
  trial.relative_error = 2e-3;
  trial.max_abs_error = 1e-3;
  return trial;
}

// `most`: so many configs at most, in the space's own order.
void write(const std::string& path, const Shape& shape, const std::vector<std::string>& axes,
           std::size_t most) {
  DeviceFacts device = *nominal_facts("sm_90a");
  device.name = "Synthetic H100";
  const AttentionTemplate& tmpl = **find_template("portable");
  const Space space = varied(Space(tmpl.space(shape, device)), tmpl.default_config(shape, device), axes);
  std::vector<Trial> trials;
  space.for_each([&](const Point& point) {
    trials.push_back(invented(space, point, shape, device, tmpl, trials.size()));
    return trials.size() < most;
  });
  const auto bytes = to_recording({.command = "make_recordings", .commit = "none", .axes = {}}, trials);
  if (!bytes) throw std::runtime_error(bytes.error().message);
  std::ofstream(path, std::ios::binary) << *bytes;
  fmt::print("{}: {} trials\n", path, trials.size());
}

}  // namespace
}  // namespace attune

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) return 2;
  using namespace attune;
  const std::string folder = argv[1];
  if (argc == 3) {
    for (const std::int64_t head_dim : {32, 48, 64, 80, 96, 112}) {
      const Shape shape{
          .batch = 1, .q_heads = 2, .kv_heads = 2, .q_len = 128, .kv_len = 128, .head_dim = head_dim};
      write(fmt::format("{}/synthetic-d{}.jsonl.gz", folder, head_dim), shape,
            {"block_n", "num_stages", "loop_order"}, 12);
    }
    return 0;
  }
  const Shape small{.batch = 1, .q_heads = 2, .kv_heads = 2, .q_len = 128, .kv_len = 128, .head_dim = 64};
  const Shape dense{
      .batch = 4, .q_heads = 32, .kv_heads = 32, .q_len = 4096, .kv_len = 4096, .head_dim = 128};
  // Axes of the launch alone share cubins: many trials, few compiles.
  write(folder + "/synthetic-small.jsonl.gz", small,
        {"block_n", "num_stages", "unroll", "loop_order", "pid_type", "num_sm_multiplier"}, 40);
  write(folder + "/synthetic-dense.jsonl.gz", dense, {"block_n", "num_stages", "loop_order"}, 16);
  return 0;
}
