#include "autotuner/llm/prompt.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "autotuner/strategies/proposals.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

constexpr std::size_t kFastest = 20;
constexpr std::size_t kNewest = 14;
constexpr std::size_t kFailures = 8;
constexpr std::size_t kElites = 6;
constexpr std::size_t kUnderWay = 32;
constexpr std::size_t kRemarks = 12;
constexpr std::size_t kLongestLine = 200;

std::string cut(std::string text, std::size_t longest = kLongestLine) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  if (text.size() > longest) text = text.substr(0, longest) + "...";
  return text;
}

std::string value_text(const Space& space, std::size_t axis, std::int16_t index) {
  const std::string text = to_string(space.axes()[axis].values[static_cast<std::size_t>(index)]);
  return text.empty() ? "\"\"" : text;
}

bool varies(const Axis& axis) {
  return axis.values.size() > 1;
}

// "block_m=128 block_n=64 ...": the axes that have a choice.
std::string config_text(const Space& space, const Point& point) {
  std::string text;
  for (std::size_t axis = 0; axis < point.size(); ++axis) {
    if (!varies(space.axes()[axis]) || point[axis] == kInactive) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", space.axes()[axis].name,
                        value_text(space, axis, point[axis]));
  }
  return text;
}

std::string difference_text(const Space& space, const Point& point, const Point& base) {
  std::string text;
  for (std::size_t axis = 0; axis < point.size(); ++axis) {
    if (point[axis] == base[axis] || point[axis] == kInactive) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", space.axes()[axis].name,
                        value_text(space, axis, point[axis]));
  }
  return text.empty() ? "(the same)" : text;
}

std::string facts_text(const TrialFacts& facts, const DeviceFacts& device) {
  if (facts.registers <= 0) return "";
  std::string text = fmt::format("{} regs, {} KiB smem, {} threads, {} CTAs/SM", facts.registers,
                                 (facts.smem_bytes + 512) >> 10, facts.threads, resident_ctas(facts, device));
  if (facts.spill_bytes > 0) text += fmt::format(", {} B spills", facts.spill_bytes);
  return text;
}

// ---- system ----

std::string axis_text(const Axis& axis) {
  std::vector<std::string> values;
  for (const AxisValue& value : axis.values)
    values.push_back(std::holds_alternative<std::string>(value) ? '"' + to_string(value) + '"'
                                                                : to_string(value));
  std::string text = fmt::format("- {}: {} | {}", axis.name, fmt::join(values, ", "), axis.help);
  if (!axis.depends_on.empty())
    text += fmt::format(" (only for some values of {})", fmt::join(axis.depends_on, ", "));
  return text + "\n";
}

std::string axes_text(const Space& space) {
  std::string text = "Axes, each `name: values | meaning`:\n";
  std::string fixed;
  for (const Axis& axis : space.axes()) {
    if (varies(axis)) {
      text += axis_text(axis);
    } else {
      fixed += fmt::format("{}{}={}", fixed.empty() ? "" : ", ", axis.name, to_string(axis.values[0]));
    }
  }
  if (!fixed.empty()) text += "Fixed here: " + fixed + "\n";
  return text;
}

std::string rules_text(const Space& space) {
  std::string text = "Rules of legality, with an example of a refusal:\n";
  std::map<std::string, std::string> examples;
  const Space::Report report = space.report();
  for (const auto& [rule, reason] : report.examples) examples.emplace(rule, reason);
  for (const Rule& rule : space.definition().rules) {
    text += fmt::format("- {} (of {})", rule.name, fmt::join(rule.reads, ", "));
    const auto example = examples.find(rule.name);
    text += example == examples.end() ? ": always kept here\n" : ": " + cut(example->second) + "\n";
  }
  text += fmt::format("{} configs are legal.\n", space.count());
  return text;
}

std::string device_text(const DeviceFacts& device) {
  return fmt::format(
      "{} ({}): {} SMs; an SM has {} registers, {} B of shared memory, {} threads at most; a CTA may use {} "
      "B "
      "of shared memory and 255 registers a thread; L2 {} MiB.",
      device.name, device.arch, device.sm_count, device.registers_per_sm, device.smem_per_sm_bytes,
      device.threads_per_sm, device.smem_per_block_bytes, device.l2_bytes >> 20);
}

std::string shape_text(const Shape& shape) {
  return fmt::format("{} ({:.4g} GFLOP; b batch, h q heads/kv heads, s q length x kv length, d head dim).",
                     to_string(shape), attention_flops(shape) * 1e-9);
}

constexpr const char* kAnswerForm = R"(Answer with one JSON object and nothing else:
{"proposals": [{"base": 12, "set": {"AXIS": VALUE, ...}, "why": "a few words"}, ...],
 "notes": "what you concluded so far; at most 600 characters; you are told it again next time"}
"base" is the number of a trial whose config you change (left out: the best one); "set" names the axes that differ
from it. Propose configs that were not tried and are not under way, each different from the others; a proposal that is
not legal is changed to the nearest legal one or refused, and you are told why. Judge from the mechanism (occupancy,
registers, shared memory, latency hiding, tail of the last wave, L2) and from the results; where you cannot tell, test
several values. Small differences (under 1%) are noise.
)";

// ---- question ----

const KnownTrial* fastest(const std::vector<KnownTrial>& trials) {
  const KnownTrial* best = nullptr;
  for (const KnownTrial& trial : trials) {
    const double cost = cost_us(trial.observation);
    if (cost < kFailed && (best == nullptr || cost < cost_us(best->observation))) best = &trial;
  }
  return best;
}

// The fastest and the newest, by number.
std::vector<const KnownTrial*> worth_telling(const std::vector<KnownTrial>& trials) {
  std::vector<const KnownTrial*> timed;
  for (const KnownTrial& trial : trials) {
    if (cost_us(trial.observation) < kFailed) timed.push_back(&trial);
  }
  const std::vector<const KnownTrial*> by_number = timed;
  std::stable_sort(timed.begin(), timed.end(), [](const KnownTrial* a, const KnownTrial* b) {
    return cost_us(a->observation) < cost_us(b->observation);
  });
  timed.resize(std::min(timed.size(), kFastest));
  std::set<std::int64_t> told;
  for (const KnownTrial* trial : timed) told.insert(trial->number);
  for (std::size_t i = by_number.size() - std::min(by_number.size(), kNewest); i < by_number.size(); ++i) {
    if (told.insert(by_number[i]->number).second) timed.push_back(by_number[i]);
  }
  return timed;
}

std::string results_text(const LlmProblem& problem, const Space& space, const std::vector<KnownTrial>& trials,
                         const KnownTrial& best) {
  const Point& base = best.observation.point;
  const double best_us = cost_us(best.observation);
  std::string text = fmt::format("Best: #{}, {:.4g} us ({:.3g} TFLOP/s): {}\n  [{}]\n", best.number, best_us,
                                 attention_flops(problem.shape) / best_us * 1e-6, config_text(space, base),
                                 facts_text(best.observation.facts, problem.device));
  text +=
      "Results, fastest first, then the newest: time over the best's | what differs from it [resources]\n";
  for (const KnownTrial* trial : worth_telling(trials)) {
    if (trial->number == best.number) continue;
    text += fmt::format("#{} x{:.3f} | {} [{}]{}{}\n", trial->number, cost_us(trial->observation) / best_us,
                        difference_text(space, trial->observation.point, base),
                        facts_text(trial->observation.facts, problem.device),
                        trial->observation.outcome == Outcome::slow ? " dropped early" : "",
                        trial->by_model ? " (yours)" : "");
  }
  return text;
}

std::string failures_text(const Space& space, const std::vector<KnownTrial>& trials, const Point& base) {
  std::string text;
  std::size_t told = 0;
  std::size_t all = 0;
  for (auto it = trials.rbegin(); it != trials.rend(); ++it) {
    if (cost_us(it->observation) < kFailed) continue;
    if (++all > kFailures) continue;
    ++told;
    text +=
        fmt::format("#{} {}: {} | {}\n", it->number, to_string(it->observation.outcome),
                    cut(it->observation.facts.message), difference_text(space, it->observation.point, base));
  }
  if (all == 0) return "";
  return fmt::format("Failures, newest {} of {}: what came of it | what differs from the best\n", told, all) +
         text;
}

// For every axis what its values gave: best and median over the trials, times over the best's.
std::string digest_text(const Space& space, const std::vector<KnownTrial>& trials, double best_us) {
  std::string text =
      "What each value gave (best / median over the best's time, trials; failed ones count as none):\n";
  for (std::size_t axis = 0; axis < space.axes().size(); ++axis) {
    if (!varies(space.axes()[axis])) continue;
    std::map<std::int16_t, std::vector<double>> times;
    for (const KnownTrial& trial : trials) {
      const double cost = cost_us(trial.observation);
      if (cost < kFailed && trial.observation.point[axis] != kInactive)
        times[trial.observation.point[axis]].push_back(cost / best_us);
    }
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < space.axes()[axis].values.size(); ++i) {
      const auto index = static_cast<std::int16_t>(i);
      auto& of_value = times[index];
      if (of_value.empty()) {
        parts.push_back(value_text(space, axis, index) + ": untried");
        continue;
      }
      std::sort(of_value.begin(), of_value.end());
      parts.push_back(fmt::format("{}: {:.2f}/{:.2f} n{}", value_text(space, axis, index), of_value.front(),
                                  of_value[of_value.size() / 2], of_value.size()));
    }
    text += fmt::format("- {}: {}\n", space.axes()[axis].name, fmt::join(parts, ", "));
  }
  return text;
}

std::string elites_text(const Space& space, const std::vector<Elite>& elites) {
  if (elites.empty()) return "";
  std::string text = "Elites of this island, the fastest of each region:\n";
  for (std::size_t i = 0; i < std::min(elites.size(), kElites); ++i)
    text += fmt::format("#{}: {}\n", elites[i].number, to_string(elites[i].cell, space));
  return text;
}

std::string_view role_text(IslandRole role) {
  switch (role) {
    case IslandRole::refine:
      return "This island refines: most proposals near the fastest configs, changing what you think binds "
             "them; a "
             "few elsewhere.";
    case IslandRole::explore:
      return "This island explores: most proposals in regions that were hardly tried and could be fast for a "
             "reason "
             "you can name; a few near the best.";
    case IslandRole::recombine:
      return "This island recombines: join what made different fast configs fast, and test whether gains add "
             "up.";
  }
  return "";
}

}  // namespace

std::string system_prompt(const LlmProblem& problem, const Space& space, std::size_t batch) {
  return fmt::format(
      "You tune a CUDA attention kernel (a FlashAttention-like forward pass, template '{}'). A config "
      "chooses a "
      "value for every axis; each is compiled, checked and timed. Find the fastest one in few trials.\n\n"
      "Device: {}\nShape: {}\n\n{}\n{}\n{}About {} proposals each time.",
      problem.template_name, device_text(problem.device), shape_text(problem.shape), axes_text(space),
      rules_text(space), kAnswerForm, batch);
}

std::string question(const LlmProblem& problem, const Space& space, const QuestionState& state) {
  const std::vector<KnownTrial>& trials = *state.trials;
  const KnownTrial* best = fastest(trials);
  std::string text = fmt::format("Trials so far: {}", trials.size());
  if (problem.max_trials > 0) text += fmt::format(" of {}", problem.max_trials);
  text += ".\n";
  if (best != nullptr) {
    text += results_text(problem, space, trials, *best);
    text += failures_text(space, trials, best->observation.point);
    text += digest_text(space, trials, cost_us(best->observation));
    text += elites_text(space, state.elites);
  } else if (!trials.empty()) {
    text += "None passed yet.\n" + failures_text(space, trials, trials.back().observation.point);
  }
  if (best == nullptr)
    text += "Until a trial passed, what \"set\" leaves out is as in: " + config_text(space, state.fallback) +
            "\n";
  if (!state.under_way.empty()) {
    text += "Under way:\n";
    for (std::size_t i = 0; i < std::min(state.under_way.size(), kUnderWay); ++i) {
      text += best == nullptr ? config_text(space, state.under_way[i])
                              : difference_text(space, state.under_way[i], best->observation.point);
      text += "\n";
    }
  }
  if (!state.remarks.empty()) {
    text += "On your earlier proposals:\n";
    const std::size_t first = state.remarks.size() - std::min(state.remarks.size(), kRemarks);
    for (std::size_t i = first; i < state.remarks.size(); ++i) text += "- " + cut(state.remarks[i]) + "\n";
  }
  if (!state.notes.empty()) text += "Your notes: " + cut(state.notes, 600) + "\n";
  text += std::string(role_text(state.role)) + "\n";
  text += fmt::format("Propose {} configs.", state.batch);
  return text;
}

}  // namespace attune
