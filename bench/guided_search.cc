// Best-so-far of searches guided by a model (tests/autotuner/fixtures/llm) beside local strategies, at equal
// trials on the same recordings. No GPU, no compiler, no network.
//
// guided_search TRANSCRIPTS [SEEDS]
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "tests/autotuner/guided_replay.h"

namespace attune {
namespace {

constexpr std::array<std::size_t, 7> kAfter{1, 6, 12, 24, 36, 48, 60};

// The template's default with the values that the recording holds fixed, where the default's were not
// recorded.
const Trial* default_trial(const Space& space, const RecordedDevice& device, const AttentionTemplate& tmpl) {
  const Config standard = tmpl.default_config(device.info().shape, device.facts());
  Config config;
  for (const Axis& axis : space.axes()) {
    if (!standard.has(axis.name)) continue;
    const AxisValue& value = standard.values().find(axis.name)->second;
    config.set(axis.name, axis.values.size() == 1 ? axis.values[0] : value);
  }
  return device.find(config_hash(canonical_json(config, space.definition())));
}

void print_row(const std::string& name, const std::vector<double>& best_us, double optimum_us) {
  fmt::print("| {} |", name);
  for (const std::size_t after : kAfter) {
    const double best = best_us[after - 1];
    fmt::print(" {} |", std::isinf(best) ? "none" : fmt::format("{:+.1f}%", 100 * (best / optimum_us - 1)));
  }
  fmt::print("\n");
}

std::vector<double> median_of(const std::vector<std::vector<double>>& runs) {
  std::vector<double> medians;
  for (std::size_t k = 0; k < guided::kTrials; ++k) {
    std::vector<double> at;
    for (const auto& run : runs) at.push_back(run[k]);
    std::sort(at.begin(), at.end());
    medians.push_back(at[at.size() / 2]);
  }
  return medians;
}

void report(const std::string& name, const std::string& transcripts, std::uint64_t seeds) {
  const guided::Guided guided = guided::replayed(name, transcripts);
  const Recording recording = *read_recording(name);
  const AttentionTemplate& tmpl = **find_template(recording.info.template_name);
  const Space space =
      *recorded_space(Space(tmpl.space(recording.info.shape, recording.info.device)), recording);
  const RecordedDevice device(recording);
  double optimum_us = std::numeric_limits<double>::infinity();
  for (const Trial& trial : recording.trials) {
    if (trial.outcome == Outcome::ok) optimum_us = std::min(optimum_us, trial.timing->median_us);
  }
  fmt::print("\n{}: {} configs, the fastest takes {:.4g} us\n\n| best after |", name, space.count(),
             optimum_us);
  for (const std::size_t after : kAfter) fmt::print(" {} |", after);
  fmt::print("\n|---|---|---|---|---|---|---|---|\n");
  print_row("model, " + guided.info.note.substr(0, guided.info.note.find(';')), guided.best_us, optimum_us);
  for (const std::string strategy : {"random", "pattern", "surrogate", "llm"}) {
    std::vector<std::vector<double>> runs;
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      runs.push_back(
          guided::best_so_far(**make_strategy(strategy, space, seed, {}, guided::kTrials), space, device));
    }
    print_row(
        fmt::format("{}, median of {} seeds", strategy == "llm" ? "llm, nobody to ask" : strategy, seeds),
        median_of(runs), optimum_us);
  }
  const Trial* standard = default_trial(space, device, tmpl);
  if (standard == nullptr || !standard->timing) return;
  print_row("the template's default", std::vector<double>(guided::kTrials, standard->timing->median_us),
            optimum_us);
}

}  // namespace
}  // namespace attune

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "guided_search TRANSCRIPTS [SEEDS]\n");
    return 2;
  }
  const std::uint64_t seeds = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 50;
  for (const char* name : {"h100-dense-4096-d128", "h100-causal-2048-d64"})
    attune::report(name, argv[1], seeds);
  return 0;
}
