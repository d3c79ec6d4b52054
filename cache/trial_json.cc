#include "cache/trial_json.h"

#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/hash.h"
#include "base/printable.h"

namespace attune {
namespace {

using nlohmann::json;

// JSON has no infinity: a kernel that wrote NaN or infinity has the error "inf".
json error_to_json(double value) {
  return std::isfinite(value) ? json(value) : json("inf");
}

// Reads members of one object and remembers the first thing that is wrong and which keys were seen.
class ObjectReader {
 public:
  ObjectReader(const json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) error_ = fail("{} must be a JSON object", where_);
  }

  // The member, or null after noting what is wrong.
  const json* required(const char* key) {
    const json* value = optional(key);
    if (!value && !error_) error_ = fail("{} has no key '{}'", where_, key);
    return value;
  }

  const json* optional(const char* key) {
    if (error_) return nullptr;
    seen_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() ? nullptr : &*found;
  }

  void read(const char* key, std::string& out) {
    if (const json* value = required(key)) take_string(key, *value, out);
  }

  void read(const char* key, bool& out) {
    const json* value = required(key);
    if (!value) return;
    if (!value->is_boolean()) return wrong_type(key, "true or false");
    out = value->get<bool>();
  }

  template <class Integer>
  void read_integer(const char* key, Integer& out) {
    if (const json* value = required(key)) take_integer(key, *value, out);
  }

  void read_number(const char* key, double& out) {
    if (const json* value = required(key)) take_number(key, *value, out);
  }

  template <class Parse, class Value>
  void read_word(const char* key, Parse parse, Value& out) {
    std::string text;
    read(key, text);
    if (error_) return;
    auto parsed = parse(text);
    if (!parsed) return void(error_ = fail("{} key '{}': {}", where_, key, parsed.error().message));
    out = *parsed;
  }

  void read_error_measure(const char* key, std::optional<double>& out) {
    const json* value = optional(key);
    if (!value) return;
    if (value->is_string() && value->get<std::string>() == "inf") {
      out = std::numeric_limits<double>::infinity();
      return;
    }
    take_number(key, *value, out.emplace());
  }

  void take_flag(const char* key, const json& value, bool& out) {
    if (!value.is_boolean()) return wrong_type(key, "true or false");
    out = value.get<bool>();
  }
  void take_string(const char* key, const json& value, std::string& out) {
    if (!value.is_string()) return wrong_type(key, "a string");
    out = value.get<std::string>();
  }

  template <class Integer>
  void take_integer(const char* key, const json& value, Integer& out) {
    if (!value.is_number_integer()) return wrong_type(key, "an integer");
    const bool fits = value.is_number_unsigned() ? std::in_range<Integer>(value.get<std::uint64_t>())
                                                 : std::in_range<Integer>(value.get<std::int64_t>());
    if (!fits) return wrong_type(key, "an integer in range");
    out = value.get<Integer>();
  }

  void take_number(const char* key, const json& value, double& out) {
    if (!value.is_number()) return wrong_type(key, "a number");
    out = value.get<double>();
  }

  void wrong_type(const char* key, const char* expected) {
    if (!error_) error_ = fail("{} key '{}' must be {}", where_, key, expected);
  }

  void note(const Error& error) {
    if (!error_) error_ = error;
  }

  // Everything read was right and nothing is left over.
  Status finish() {
    if (error_) return *error_;
    for (const auto& [key, value] : object_.items()) {
      if (!seen_.contains(key)) return fail("{} has an unknown key '{}'", where_, printable(key));
    }
    return {};
  }

 private:
  const json& object_;
  std::string where_;
  std::set<std::string, std::less<>> seen_;
  std::optional<Error> error_;
};

Result<Timing> timing_from_json(const json& value) {
  ObjectReader reader(value, "timing");
  Timing timing;
  reader.read_number("median_us", timing.median_us);
  reader.read_number("min_us", timing.min_us);
  reader.read_number("spread_us", timing.spread_us);
  reader.read_integer("samples", timing.samples);
  if (auto status = reader.finish(); !status) return status.error();
  return timing;
}

// base/ accepts unknown keys and converts numbers; here a description must be exactly what to_json() writes.
Result<DeviceFacts> strict_device_facts(const json& value) {
  auto facts = device_facts_from_json(value);
  if (facts && to_json(*facts) != value)
    return fail("the description of the device has unknown keys or wrong types");
  return facts;
}

std::string dump_line(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

template <class Parse, class Value>
void read_object(ObjectReader& reader, const json* value, Parse parse, Value& out) {
  if (!value) return;
  auto parsed = parse(*value);
  if (!parsed) return reader.note(parsed.error());
  out = *parsed;
}

void read_identity(ObjectReader& reader, Trial& trial) {
  if (const json* id = reader.optional("id")) reader.take_integer("id", *id, trial.id);
  read_object(reader, reader.required("shape"), shape_from_json, trial.shape);
  reader.read("template", trial.template_name);
  reader.read("template_hash", trial.template_hash);
  if (const json* config = reader.required("config")) trial.config_json = dump_line(*config);
  reader.read("config_hash", trial.config_hash);
  read_object(reader, reader.required("device"), strict_device_facts, trial.device);
  reader.read("replayed", trial.replayed);
  reader.read("nvrtc_version", trial.nvrtc_version);
  reader.read_word("policy", parse_policy, trial.policy);
}

void read_outcome(ObjectReader& reader, Trial& trial) {
  reader.read_word("outcome", parse_outcome, trial.outcome);
  reader.read("message", trial.message);
  read_object(reader, reader.optional("timing"), timing_from_json, trial.timing);
  reader.read_error_measure("relative_error", trial.relative_error);
  reader.read_error_measure("max_abs_error", trial.max_abs_error);
  reader.read("cubin_key", trial.cubin_key);
  reader.read("cubin_hash", trial.cubin_hash);
  reader.read_integer("registers", trial.registers);
  reader.read_integer("spill_bytes", trial.spill_bytes);
  reader.read_integer("smem_bytes", trial.smem_bytes);
  reader.read_number("compile_ms", trial.compile_ms);
  if (const json* clock = reader.optional("sm_clock_mhz")) {
    reader.take_integer("sm_clock_mhz", *clock, trial.sm_clock_mhz.emplace());
  }
  if (const json* throttle = reader.optional("throttle")) {
    reader.take_string("throttle", *throttle, trial.throttle.emplace());
  }
  if (const json* final_round = reader.optional("final_round")) {
    reader.take_flag("final_round", *final_round, trial.final_round);
  }
}

}  // namespace

json to_json(const Trial& trial) {
  json out{{"shape", to_json(trial.shape)},
           {"template", trial.template_name},
           {"template_hash", trial.template_hash},
           {"config", json::parse(trial.config_json, nullptr, false)},
           {"config_hash", trial.config_hash},
           {"device", to_json(trial.device)},
           {"replayed", trial.replayed},
           {"nvrtc_version", trial.nvrtc_version},
           {"policy", to_string(trial.policy)},
           {"outcome", to_string(trial.outcome)},
           {"message", trial.message},
           {"cubin_key", trial.cubin_key},
           {"cubin_hash", trial.cubin_hash},
           {"registers", trial.registers},
           {"spill_bytes", trial.spill_bytes},
           {"smem_bytes", trial.smem_bytes},
           {"compile_ms", trial.compile_ms},
           {"strategy", trial.strategy},
           {"session", trial.session},
           {"created_at", trial.created_at}};
  if (trial.id != 0) out["id"] = trial.id;
  if (trial.timing) {
    out["timing"] = {{"median_us", trial.timing->median_us},
                     {"min_us", trial.timing->min_us},
                     {"spread_us", trial.timing->spread_us},
                     {"samples", trial.timing->samples}};
  }
  if (trial.relative_error) out["relative_error"] = error_to_json(*trial.relative_error);
  if (trial.max_abs_error) out["max_abs_error"] = error_to_json(*trial.max_abs_error);
  if (trial.sm_clock_mhz) out["sm_clock_mhz"] = *trial.sm_clock_mhz;
  if (trial.throttle) out["throttle"] = *trial.throttle;
  if (trial.final_round) out["final_round"] = true;
  return out;
}

Result<Trial> trial_from_json(const json& value) {
  ObjectReader reader(value, "trial");
  Trial trial;
  read_identity(reader, trial);
  read_outcome(reader, trial);
  reader.read("strategy", trial.strategy);
  reader.read("session", trial.session);
  reader.read("created_at", trial.created_at);
  if (auto status = reader.finish(); !status) return status.error();
  if (auto status = check_trial(trial); !status) return status.error();
  return trial;
}

std::string to_json_line(const Trial& trial) {
  return dump_line(to_json(trial));
}

std::string content_hash(const Trial& trial) {
  json content = to_json(trial);
  content.erase("id");
  return sha256_hex(dump_line(content));
}

}  // namespace attune
