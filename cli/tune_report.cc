#include "cli/tune_report.h"

#include <fmt/core.h>

#include "cli/llm_flags.h"
#include "cli/text.h"

namespace attune::cli {
namespace {

// Replayed times must never be taken for measured ones.
std::string device_text(const Target& target) {
  const std::string& name = target.device.facts.name;
  if (!target.device.recording) return name;
  return fmt::format("{}, REPLAYED from recording {}", name, target.device.recording->info.name);
}

std::string outcomes_text(const TuneProgress& totals) {
  std::string text;
  for (const auto& [outcome, count] : totals.outcomes) {
    if (count == 0) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", grouped(static_cast<std::uint64_t>(count)),
                        to_string(outcome));
  }
  return text.empty() ? "none" : text;
}

std::string compiled_text(const CompileStats& stats) {
  const std::string stored = grouped(static_cast<std::uint64_t>(stats.from_store)) + " from the store";
  if (stats.compiled == 0) return "compiled nothing, " + stored;
  return fmt::format("{} compiled ({} of compiler time), {}",
                     grouped(static_cast<std::uint64_t>(stats.compiled)), duration(stats.compile_seconds),
                     stored);
}

std::string best_text(const Trial& best, const TuneResult& result, double flops) {
  std::string text = fmt::format("{}, {} TFLOP/s", milliseconds(best.timing->median_us),
                                 significant(tflops(flops, best.timing->median_us)));
  if (const auto speedup = speedup_over_default(result)) {
    text += fmt::format(", {}x the template's default", significant(*speedup));
  }
  return text;
}

std::string time_text(const TuneReport& report) {
  const BusyShares busy = busy_shares(report);
  const std::string compilers =
      report.compilers == 1 ? "compiler" : fmt::format("{} compilers", report.compilers);
  const std::string gpu =
      report.target.device.recording ? "" : fmt::format("the GPU was busy {:.0f}%, ", 100 * busy.gpu);
  return fmt::format("{} and {} to get ready; of the search {}the {} {:.0f}%",
                     duration(report.result.totals.elapsed_seconds), duration(report.setup_seconds), gpu,
                     compilers, 100 * busy.compilers);
}

}  // namespace

std::string to_text(const TuneReport& report) {
  const TuneResult& result = report.result;
  const Target& target = report.target;
  std::vector<std::vector<std::string>> rows{{"shape", to_string(target.shape)},
                                             {"device", device_text(target)},
                                             {"template", std::string(target.tmpl->name())}};
  if (result.best) {
    rows.push_back({"best", best_text(*result.best, result, attention_flops(target.shape))});
    rows.push_back({"config", result.best->config_json});
  }
  if (!result.note.empty()) rows.push_back({"note", result.note});
  rows.push_back(
      {"trials", fmt::format("{} ({} resumed): {}", grouped(static_cast<std::uint64_t>(result.totals.trials)),
                             grouped(static_cast<std::uint64_t>(result.totals.resumed)),
                             outcomes_text(result.totals))});
  if (report.options.llm) rows.push_back({"model", to_text(*report.options.llm)});
  rows.push_back({"kernels", compiled_text(result.compile)});
  rows.push_back({"time", time_text(report)});
  rows.push_back({"stored in", report.database});
  return table(rows);
}

}  // namespace attune::cli
