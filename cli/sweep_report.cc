#include "cli/sweep_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/time.h"
#include "cache/pack.h"
#include "cache/trial_json.h"
#include "cli/text.h"
#include "cli/version.h"

namespace attune::cli {
namespace {

// A row with its times, as far as they are known.
struct Timed {
  const WorkloadRow* row = nullptr;
  const Trial* best = nullptr;
  std::optional<double> baseline_us;
  std::int64_t trials = 0;

  std::optional<double> speedup() const {
    return best && baseline_us ? std::optional(*baseline_us / best->timing->median_us) : std::nullopt;
  }
};

std::vector<Timed> timed_rows(const SweepReport& report) {
  std::vector<Timed> rows;
  for (std::size_t i = 0; i < report.workload.rows.size(); ++i) {
    if (!report.shape_of_row[i]) continue;  // listed as left out
    Timed timed;
    timed.row = &report.workload.rows[i];
    if (const auto shape = report.shape_of_row[i]) {
      const SweptShape& swept = report.result.shapes[*shape];
      if (swept.best) timed.best = &*swept.best;
      timed.trials = swept.trials;
      if (!report.baseline && swept.default_trial) timed.baseline_us = swept.default_trial->timing->median_us;
    }
    if (report.baseline) {
      const auto known = report.baseline->median_us.find(timed.row->name);
      if (known != report.baseline->median_us.end()) timed.baseline_us = known->second;
    }
    rows.push_back(timed);
  }
  return rows;
}

// The speedups of some rows, each counting once.
struct Speedups {
  std::vector<double> all;

  void add(const Timed& timed) {
    if (const auto speedup = timed.speedup()) all.push_back(*speedup);
  }
  double mean() const {
    double sum = 0;
    for (const double speedup : all) sum += std::log(speedup);
    return std::exp(sum / static_cast<double>(all.size()));
  }
  double least() const { return *std::min_element(all.begin(), all.end()); }
  double most() const { return *std::max_element(all.begin(), all.end()); }
};

// Bold from 10% on, as in "**1.20x**".
std::string times(double speedup) {
  return speedup >= 1.10 ? fmt::format("**{:.2f}x**", speedup) : fmt::format("{:.2f}x", speedup);
}

std::string cell(const std::optional<double>& speedup) {
  return speedup ? times(*speedup) : "-";
}

std::string us_cell(const std::optional<double>& us) {
  return us ? fmt::format("{:.1f}", *us) : "-";
}

double tflops_of(const Timed& timed) {
  return tflops(attention_flops(timed.row->shape), timed.best->timing->median_us);
}

std::string baseline_title(const SweepReport& report) {
  return report.baseline ? report.baseline->title : "Default config (us)";
}

std::string row_cells(const Timed& timed) {
  if (!timed.best) return fmt::format(" - | {} | - | - | - | - | - |", us_cell(timed.baseline_us));
  const auto speedup = timed.speedup();
  const Timing& timing = *timed.best->timing;
  return fmt::format(" {:.1f} | {} | {} | {} | {:.0f} | +-{:.1f}% | {} |", timing.median_us,
                     us_cell(timed.baseline_us), cell(speedup),
                     speedup ? fmt::format("{:+.1f}%", (*speedup - 1) * 100) : "-", tflops_of(timed),
                     100 * median_error_us(timing) / timing.median_us, timed.best->template_name);
}

void add_table(std::string& text, const std::string& first, const SweepReport& report,
               const std::vector<Timed>& rows, const std::function<std::string(const Timed&)>& name) {
  text += fmt::format("| {} | attune (us) | {} | Speedup | Improvement | TFLOP/s | 95% | Template |\n", first,
                      baseline_title(report));
  text += "|---|---|---|---|---|---|---|---|\n";
  for (const Timed& timed : rows) text += fmt::format("| {} |{}\n", name(timed), row_cells(timed));
  text += "\n";
}

std::vector<Timed> of_model(const std::vector<Timed>& rows, const std::string& model) {
  std::vector<Timed> some;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(some),
               [&](const Timed& timed) { return timed.row->model == model; });
  return some;
}

// Names of models in the order in which they occur; those of rows alone included.
std::vector<std::string> models_of(const std::vector<Timed>& rows) {
  std::vector<std::string> names;
  for (const Timed& timed : rows) {
    const std::string& model = timed.row->model;
    if (!model.empty() && std::find(names.begin(), names.end(), model) == names.end()) names.push_back(model);
  }
  return names;
}

std::string model_facts(const Workload& workload, const std::string& name) {
  for (const WorkloadModel& model : workload.models) {
    if (model.name != name) continue;
    std::string text;
    const auto line = [&text](const std::string& words) { text += "- " + words + "\n"; };
    if (model.layers > 0) line(fmt::format("**Layers:** {}", model.layers));
    line(fmt::format("**Query Heads:** {}, **KV Heads:** {}", model.q_heads, model.kv_heads));
    if (model.embed_dim > 0)
      line(fmt::format("**Embed Dim:** {}, **Head Dim:** {}", model.embed_dim, model.head_dim));
    if (model.mlp_hidden > 0) line(fmt::format("**MLP Hidden:** {}", model.mlp_hidden));
    return text + "\n";
  }
  return "";
}

std::string summary(const std::vector<Timed>& rows, const SweepReport& report) {
  Speedups all;
  const Timed* best = nullptr;
  std::size_t known = 0;
  for (const Timed& timed : rows) {
    all.add(timed);
    known += timed.best != nullptr;
    if (timed.speedup() && (!best || *timed.speedup() > *best->speedup())) best = &timed;
  }
  std::string text = "## Summary\n\n| Metric | Value |\n|---|---|\n";
  text += fmt::format("| Rows tuned | {} of {} |\n", known, report.workload.rows.size());
  if (!all.all.empty()) {
    text += fmt::format("| **Average speedup** (geometric mean of {} rows) | **{:.2f}x** |\n", all.all.size(),
                        all.mean());
    text += fmt::format("| **Maximum speedup** | **{:.2f}x** ({}) |\n", all.most(), best->row->name);
    text += fmt::format("| **Minimum speedup** | {:.2f}x |\n", all.least());
  }
  text +=
      fmt::format("| Speedup over | {} |\n\n",
                  report.baseline ? "PyTorch SDPA" : "the template's default config, what is served untuned");
  return text;
}

std::string summary_table(const std::vector<Timed>& rows) {
  std::set<std::int64_t> lengths;
  for (const Timed& timed : rows) {
    if (!timed.row->model.empty()) lengths.insert(timed.row->shape.q_len);
  }
  if (lengths.empty()) return "";
  std::string text = "## Summary Table: All Models and Sequence Lengths\n\n| Model |";
  for (const auto length : lengths) text += fmt::format(" {} |", length);
  text += " Avg |\n|---|";
  for (std::size_t i = 0; i <= lengths.size(); ++i) text += "---|";
  text += "\n";
  for (const std::string& model : models_of(rows)) {
    Speedups average;
    std::map<std::int64_t, std::string> cells;
    for (const Timed& timed : of_model(rows, model)) {
      average.add(timed);
      cells[timed.row->shape.q_len] = cell(timed.speedup());
    }
    text += fmt::format("| {} |", model);
    for (const auto length : lengths)
      text += fmt::format(" {} |", cells.contains(length) ? cells[length] : "-");
    text += fmt::format(" {} |\n", average.all.empty() ? "-" : times(average.mean()));
  }
  return text + "\n";
}

std::string by_length(const std::vector<Timed>& rows) {
  std::map<std::int64_t, Speedups> groups;
  for (const Timed& timed : rows) groups[timed.row->shape.q_len].add(timed);
  std::string text =
      "### By Sequence Length\n\n| Sequence Length | Avg Speedup | Min | Max | Rows "
      "|\n|---|---|---|---|---|\n";
  for (const auto& [length, speedups] : groups) {
    if (speedups.all.empty()) continue;
    text += fmt::format("| {} | {} | {:.2f}x | {:.2f}x | {} |\n", length, times(speedups.mean()),
                        speedups.least(), speedups.most(), speedups.all.size());
  }
  return text + "\n";
}

std::string by_head_dim(const std::vector<Timed>& rows) {
  std::map<std::int64_t, Speedups> groups;
  std::map<std::int64_t, std::vector<std::string>> names;
  for (const Timed& timed : rows) {
    if (!timed.speedup()) continue;
    groups[timed.row->shape.head_dim].add(timed);
    auto& list = names[timed.row->shape.head_dim];
    const std::string name = timed.row->model.empty() ? timed.row->name : timed.row->model;
    if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
  }
  std::string text = "### By Head Dimension\n\n| Head Dim | Avg Speedup | Models |\n|---|---|---|\n";
  for (const auto& [dim, speedups] : groups)
    text += fmt::format("| {} | {} | {} |\n", dim, times(speedups.mean()), fmt::join(names[dim], ", "));
  return text + "\n";
}

std::string methodology(const SweepReport& report) {
  const SweepProgress& totals = report.result.totals;
  std::string text = "## Methodology\n\n";
  const auto line = [&text](const std::string& words) { text += "- " + words + "\n"; };
  line(fmt::format("**Hardware:** {} ({}, {} SMs), driver {}", report.device.name, report.device.arch,
                   report.device.sm_count,
                   report.device.driver.empty() ? "not recorded" : report.device.driver));
  line(fmt::format("**Command:** `{}`", report.command));
  line(
      "**Benchmark:** one launch of the forward attention kernel, CUDA events around it, launch latency "
      "hidden, " +
      std::string(report.options.policy.cold_l2 ? "L2 flushed before every sample" : "L2 warm") +
      ", random normal inputs; the median");
  line(report.replayed
           ? "**Times are replayed from recordings of that GPU: nothing was measured in this run**"
           : "**Final round:** the fastest few of each search and the default, interleaved; its medians "
             "are the times above, 95% the interval of the median (1.57 IQR / sqrt(n))");
  line(fmt::format("**Baseline:** {}",
                   report.baseline
                       ? report.baseline->provenance
                       : "the default config of the template that is served without tuning, timed in the "
                         "same final round"));
  line(
      "**Correctness:** every config is compared with an fp32 reference before it may win (relative "
      "Frobenius error, "
      "poisoned outputs); those of the final round on large logits and for equal bits too");
  line(fmt::format(
      "**Search:** strategy {}, {} measured by this run, {} found stored, in {}; each shape through every "
      "template that serves it, starting from what won on shapes near it, more for the shapes that "
      "still gained",
      report.options.strategy, count_of(totals.trials, "trial", "trials"),
      count_of(totals.stored, "trial", "trials"), duration(totals.elapsed_seconds)));
  for (const std::string& failure : report.result.failures) line("**Failed:** " + failure);
  if (report.result.out_of_time) line("**The time limit ended the sweep**: the same command goes on");
  return text;
}

std::string winners(const std::vector<Timed>& rows) {
  std::string text = "### Configurations\n\n| Shape | Template | Config |\n|---|---|---|\n";
  for (const Timed& timed : rows) {
    if (timed.best)
      text += fmt::format("| {} | {} | `{}` |\n", timed.row->name, timed.best->template_name,
                          timed.best->config_json);
  }
  return text;
}

}  // namespace

std::string to_markdown(const SweepReport& report) {
  const std::vector<Timed> rows = timed_rows(report);
  std::string text = "# attune Sweep Report\n\n";
  text += fmt::format("**Generated:** {}\n**GPU:** {}{}\n**attune:** {}\n\n", utc_timestamp(),
                      report.device.name, report.replayed ? ", REPLAYED from recordings" : "", kVersion);
  text += summary(rows, report);
  text += "## Detailed Results\n\n";
  const auto alone = of_model(rows, "");
  if (!alone.empty()) {
    if (alone.size() != rows.size()) text += "### Shapes of no model\n\n";
    add_table(text, "Shape", report, alone, [](const Timed& timed) { return timed.row->name; });
  }
  for (const std::string& model : models_of(rows)) {
    text += fmt::format("### {}\n\n{}", model, model_facts(report.workload, model));
    add_table(text, "Seq Length", report, of_model(rows, model),
              [](const Timed& timed) { return std::to_string(timed.row->shape.q_len); });
  }
  text += summary_table(rows);
  text += "## Performance Analysis\n\n" + by_length(rows) + by_head_dim(rows) + methodology(report) + "\n" +
          winners(rows);
  if (!report.left_out.empty()) {
    text += "\n### Left out\n\n";
    for (const std::string& line : report.left_out) text += "- " + line + "\n";
  }
  return text;
}

std::string to_text(const SweepReport& report) {
  std::vector<std::vector<std::string>> lines{{"shape", "time", "TFLOP/s", "speedup", "template", "trials"}};
  Speedups all;
  for (const Timed& timed : timed_rows(report)) {
    if (!timed.best) continue;
    all.add(timed);
    lines.push_back({timed.row->name, milliseconds(timed.best->timing->median_us),
                     significant(tflops_of(timed)),
                     timed.speedup() ? significant(*timed.speedup()) + "x" : "", timed.best->template_name,
                     grouped(static_cast<std::uint64_t>(timed.trials))});
  }
  const SweepProgress& totals = report.result.totals;
  std::string text = table(lines);
  if (!all.all.empty()) {
    text += fmt::format("{} over {}, geometric mean of {}: lowest {}x\n", significant(all.mean()) + "x",
                        report.baseline ? "PyTorch SDPA" : "the default config",
                        count_of(static_cast<std::int64_t>(all.all.size()), "row", "rows"),
                        significant(all.least()));
  }
  text += fmt::format("{} of {} shapes, {} measured and {} found stored in {}, stored in {}\n",
                      totals.shapes_served, totals.shapes, count_of(totals.trials, "trial", "trials"),
                      grouped(static_cast<std::uint64_t>(totals.stored)), duration(totals.elapsed_seconds),
                      report.database);
  if (report.claims) {
    const ClaimShare& share = *report.claims;
    text += fmt::format("{} finished by this host{}; over all hosts {} done, {} held, {} open, {} given up\n",
                        count_of(share.finished_here, "shape", "shapes"),
                        share.lost_here > 0 ? fmt::format(", {} lost to others", share.lost_here) : "",
                        share.counts.done, share.counts.held, share.counts.open, share.counts.given_up);
  }
  if (!report.left_out.empty()) {
    text += fmt::format("{} left out; the first: {}\n",
                        count_of(static_cast<std::int64_t>(report.left_out.size()), "row", "rows"),
                        report.left_out.front());
  }
  return text;
}

nlohmann::json to_json(const SweepReport& report) {
  const SweepProgress& totals = report.result.totals;
  nlohmann::json json{{"device", to_json(report.device)},
                      {"replayed", report.replayed},
                      {"command", report.command},
                      {"database", report.database},
                      {"strategy", report.options.strategy},
                      {"trials", totals.trials},
                      {"stored", totals.stored},
                      {"helpings", report.result.helpings},
                      {"seconds", totals.elapsed_seconds},
                      {"device_busy_seconds", report.result.device_busy_seconds},
                      {"compiled", report.result.compile.compiled},
                      {"from_store", report.result.compile.from_store},
                      {"interrupted", report.result.interrupted},
                      {"out_of_time", report.result.out_of_time},
                      {"failures", report.result.failures},
                      {"left_out", report.left_out},
                      {"rows", nlohmann::json::array()}};
  Speedups all;
  for (const Timed& timed : timed_rows(report)) {
    all.add(timed);
    nlohmann::json row{{"name", timed.row->name},
                       {"model", timed.row->model},
                       {"shape", to_json(timed.row->shape)},
                       {"trials", timed.trials},
                       {"best", timed.best ? to_json(*timed.best) : nlohmann::json()}};
    if (timed.baseline_us) row["baseline_us"] = *timed.baseline_us;
    if (const auto speedup = timed.speedup()) row["speedup"] = *speedup;
    json["rows"].push_back(std::move(row));
  }
  if (report.claims) {
    const ClaimShare& share = *report.claims;
    json["claims"] = {{"finished_here", share.finished_here},
                      {"lost_here", share.lost_here},
                      {"done", share.counts.done},
                      {"held", share.counts.held},
                      {"open", share.counts.open},
                      {"given_up", share.counts.given_up}};
  }
  json["geomean"] = all.all.empty() ? nlohmann::json() : nlohmann::json(all.mean());
  return json;
}

}  // namespace attune::cli
