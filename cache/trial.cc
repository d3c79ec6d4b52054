#include "cache/trial.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/printable.h"

namespace attune {
namespace {

struct NamedOutcome {
  Outcome outcome;
  std::string_view name;
};
constexpr std::array kOutcomes{
    NamedOutcome{Outcome::ok, "ok"},
    NamedOutcome{Outcome::slow, "slow"},
    NamedOutcome{Outcome::compile_error, "compile_error"},
    NamedOutcome{Outcome::spilled, "spilled"},
    NamedOutcome{Outcome::does_not_fit, "does_not_fit"},
    NamedOutcome{Outcome::launch_fault, "launch_fault"},
    NamedOutcome{Outcome::timeout, "timeout"},
    NamedOutcome{Outcome::wrong_answer, "wrong_answer"},
};

struct NamedPolicy {
  MeasurementPolicy policy;
  std::string_view name;
};
constexpr std::array kPolicies{
    NamedPolicy{{.cold_l2 = true, .cuda_graph = false}, "cold-l2/eager"},
    NamedPolicy{{.cold_l2 = true, .cuda_graph = true}, "cold-l2/graph"},
    NamedPolicy{{.cold_l2 = false, .cuda_graph = false}, "warm-l2/eager"},
    NamedPolicy{{.cold_l2 = false, .cuda_graph = true}, "warm-l2/graph"},
};

// Times are compared as text, so their form is part of the format: "2026-11-22T01:25:48Z".
bool is_timestamp(std::string_view text) {
  constexpr std::string_view form = "dddd-dd-ddTdd:dd:ddZ";
  if (text.size() != form.size()) return false;
  for (std::size_t i = 0; i < form.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (form[i] == 'd' ? !digit : text[i] != form[i]) return false;
  }
  return true;
}

Status check_timing(const Trial& trial) {
  const bool timed = trial.outcome == Outcome::ok || trial.outcome == Outcome::slow;
  if (timed != trial.timing.has_value()) {
    return fail("a trial with outcome '{}' must {} a timing", to_string(trial.outcome),
                timed ? "have" : "not have");
  }
  if (!timed) return {};
  const Timing& timing = *trial.timing;
  const auto sane = [](double value) { return std::isfinite(value) && value >= 0; };
  if (!sane(timing.median_us) || timing.median_us == 0 || !sane(timing.min_us) || !sane(timing.spread_us)) {
    return fail("a timing must be finite and positive (median {} us, min {} us, spread {} us)",
                timing.median_us, timing.min_us, timing.spread_us);
  }
  if (timing.samples < 1) return fail("a timing must have at least one sample, not {}", timing.samples);
  return {};
}

Status check_config_text(const std::string& text) {
  const auto config = nlohmann::json::parse(text, nullptr, false);
  if (!config.is_object())
    return fail("the config of a trial must be a JSON object, not '{}'", printable(text));
  if (config.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) != text) {
    return fail("the config of a trial must be canonical JSON (compact, sorted keys), not '{}'",
                printable(text));
  }
  return {};
}

}  // namespace

std::string_view to_string(Outcome outcome) {
  for (const auto& entry : kOutcomes) {
    if (entry.outcome == outcome) return entry.name;
  }
  return "compile_error";
}

Result<Outcome> parse_outcome(std::string_view text) {
  for (const auto& entry : kOutcomes) {
    if (entry.name == text) return entry.outcome;
  }
  return fail(
      "unknown outcome '{}': ok, slow, compile_error, spilled, does_not_fit, launch_fault, timeout or "
      "wrong_answer",
      printable(text));
}

std::string to_string(const MeasurementPolicy& policy) {
  for (const auto& entry : kPolicies) {
    if (entry.policy == policy) return std::string(entry.name);
  }
  return "";
}

Result<MeasurementPolicy> parse_policy(std::string_view text) {
  for (const auto& entry : kPolicies) {
    if (entry.name == text) return entry.policy;
  }
  return fail("unknown measurement policy '{}': cold-l2/eager, cold-l2/graph, warm-l2/eager or warm-l2/graph",
              printable(text));
}

Status check_trial(const Trial& trial) {
  if (auto shape = validated(trial.shape); !shape) return shape.error();
  if (trial.template_name.empty()) return fail("a trial must name its template");
  if (trial.config_hash.empty()) return fail("a trial must have the hash of its config");
  if (auto status = check_config_text(trial.config_json); !status) return status;
  if (trial.device.name.empty() || trial.device.arch.empty())
    return fail("a trial must name its device and arch");
  if (!std::isfinite(trial.compile_ms)) return fail("compile_ms must be finite, not {}", trial.compile_ms);
  if (!is_timestamp(trial.created_at)) {
    return fail("created_at must be a UTC time as in 2026-11-22T01:25:48Z, not '{}'",
                printable(trial.created_at));
  }
  return check_timing(trial);
}

}  // namespace attune
