#include "autotuner/tune_report.h"

#include <nlohmann/json.hpp>

#include "autotuner/llm/chat_session.h"
#include "cache/trial_json.h"

namespace attune {

std::optional<double> speedup_over_default(const TuneResult& result) {
  if (!result.best || !result.best->timing || result.best->timing->median_us <= 0) return std::nullopt;
  if (!result.default_trial || !result.default_trial->timing) return std::nullopt;
  return result.default_trial->timing->median_us / result.best->timing->median_us;
}

BusyShares busy_shares(const TuneReport& report) {
  const double seconds = report.result.totals.elapsed_seconds;
  if (seconds <= 0) return {};
  return {report.result.gpu_busy_seconds / seconds,
          report.result.compile.compile_seconds / (seconds * report.compilers),
          report.result.at_limit_seconds / seconds};
}

nlohmann::json to_json(const TuneReport& report) {
  const TuneResult& result = report.result;
  nlohmann::json json = to_json(report.target);
  const double flops = attention_flops(report.target.shape);
  json["strategy"] = report.options.strategy;
  json["seed"] = report.options.seed;
  json["best"] = nullptr;
  if (result.best) {
    json["best"] = to_json(*result.best);
    json["config"] = nlohmann::json::parse(result.best->config_json);
    json["median_us"] = result.best->timing->median_us;
    json["tflops"] = flops / result.best->timing->median_us * 1e-6;
  }
  json["default"] = result.default_trial ? to_json(*result.default_trial) : nlohmann::json();
  if (const auto speedup = speedup_over_default(result)) json["speedup_over_default"] = *speedup;
  json["trials"] = result.totals.trials;
  json["resumed"] = result.totals.resumed;
  json["outcomes"] = nlohmann::json::object();
  for (const auto& [outcome, count] : result.totals.outcomes)
    json["outcomes"][std::string(to_string(outcome))] = count;
  json["compiled"] = result.compile.compiled;
  json["from_store"] = result.compile.from_store;
  json["compile_seconds"] = result.compile.compile_seconds;
  json["gpu_busy_seconds"] = result.gpu_busy_seconds;
  json["seconds"] = result.totals.elapsed_seconds;
  json["setup_seconds"] = report.setup_seconds;
  json["compilers"] = report.compilers;
  const BusyShares busy = busy_shares(report);
  json["gpu_busy_share"] = busy.gpu;
  json["compiler_busy_share"] = busy.compilers;
  json["at_limit_share"] = busy.at_limit;
  json["interrupted"] = result.interrupted;
  json["note"] = result.note;
  if (report.options.llm) json["llm"] = to_json(*report.options.llm);
  json["database"] = report.database;
  return json;
}

}  // namespace attune
