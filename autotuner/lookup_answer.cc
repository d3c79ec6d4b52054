#include "autotuner/lookup_answer.h"

#include <nlohmann/json.hpp>

#include "cache/trial_json.h"

namespace attune {

nlohmann::json answer_json(const Target& target, const LookupAnswer& answer) {
  nlohmann::json json = to_json(target);
  json["reason"] = answer.reason;
  if (!answer.record) {
    const auto config = target.tmpl->default_config(target.shape, target.device.facts);
    json["provenance"] = "default";
    json["config"] = config_to_json(config, target.tmpl->space(target.shape, target.device.facts));
    return json;
  }
  const Trial& record = *answer.record;
  json["provenance"] = to_string(answer.provenance);
  json["template"] = record.template_name;
  json["config"] = nlohmann::json::parse(record.config_json);
  json["pack"] = answer.pack.empty() ? nlohmann::json() : nlohmann::json(answer.pack);
  json["distance"] = answer.distance;
  json["stale"] = answer.stale;
  json["replayed"] = record.replayed;
  // Another shape's time is scaled by its work: an expectation, not a measurement.
  const double scale = attention_flops(target.shape) / attention_flops(record.shape);
  json["expected_us"] = record.timing->median_us * scale;
  json["tflops"] = attention_flops(record.shape) / record.timing->median_us * 1e-6;
  json["record"] = to_json(record);
  return json;
}

}  // namespace attune
