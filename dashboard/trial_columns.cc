#include "dashboard/trial_columns.h"

#include <cmath>

#include "dashboard/shape_flags.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

using nlohmann::json;

json shape_summary(const Shape& shape) {
  return {{"name", to_string(shape)},
          {"shape", to_json(shape)},
          {"flags", shape_flags(shape)},
          {"flops", attention_flops(shape)}};
}

// NaN and infinity have no JSON; the one stands for both, as in a trial's own JSON.
json error_number(const std::optional<double>& error) {
  if (!error) return nullptr;
  if (!std::isfinite(*error)) return "inf";
  return *error;
}

json rounded(double value, double unit) {
  return std::round(value / unit) * unit;
}

// Today's template of this name, whatever its hash: axes keep their names.
const AttentionTemplate* template_for(const Trial& trial) {
  const auto found = find_template(trial.template_name);
  return found && (*found)->supports(trial.shape, trial.device) ? *found : nullptr;
}

std::string escaped(std::string key) {  // RFC 6901
  for (std::size_t at = 0; (at = key.find_first_of("~/", at)) != std::string::npos; at += 2)
    key.replace(at, 1, key[at] == '~' ? "~0" : "~1");
  return key;
}

}  // namespace

void Dictionary::add(const std::string& key, const json& value) {
  const auto [found, is_new] = index_.try_emplace(key, static_cast<int>(values_.size()));
  if (is_new) values_.push_back(value);
  at_.push_back(found->second);
}

json Dictionary::to_json() const {
  return {{"values", values_}, {"at", at_}};
}

json device_summary(const DeviceFacts& device) {
  return {{"name", device.name}, {"arch", device.arch}, {"sm_count", device.sm_count}};
}

std::string default_config_hash(const Trial& trial) {
  const AttentionTemplate* tmpl = template_for(trial);
  if (!tmpl || tmpl->hash() != trial.template_hash) return "";
  const Config config = tmpl->default_config(trial.shape, trial.device);
  return config_hash(canonical_json(config, tmpl->space(trial.shape, trial.device)));
}

const TrialColumns::Known& TrialColumns::known(const Trial& trial) {
  const auto [found, is_new] =
      known_.try_emplace({trial.template_name + trial.template_hash, to_string(trial.shape),
                          attune::to_json(trial.device).dump()});
  Known& known = found->second;
  if (!is_new) return known;
  known.default_hash = default_config_hash(trial);
  if (const AttentionTemplate* tmpl = template_for(trial)) {
    for (const Axis& axis : tmpl->space(trial.shape, trial.device).axes) {
      json domain = json::array();
      for (const AxisValue& value : axis.values) domain.push_back(attune::to_json(value));
      known.axes[axis.pointer] = {
          {"name", axis.name}, {"pointer", axis.pointer}, {"help", axis.help}, {"domain", std::move(domain)}};
    }
  }
  return known;
}

void TrialColumns::add(const Trial& trial) {
  const Known& facts = known(trial);
  add_words(trial);
  add_numbers(trial, !facts.default_hash.empty() && facts.default_hash == trial.config_hash);
  add_config(json::parse(trial.config_json, nullptr, false), "", facts);
  ++count_;
  for (auto& [key, column] : axes_) {
    if (column.values.size() < count_) column.values.add_nothing();
  }
}

void TrialColumns::add_words(const Trial& trial) {
  words_["shape"].add(to_string(trial.shape), shape_summary(trial.shape));
  const json device = device_summary(trial.device);
  words_["device"].add(device.dump(-1, ' ', false, json::error_handler_t::replace), device);
  words_["template"].add(trial.template_name);
  words_["template_hash"].add(trial.template_hash);
  words_["policy"].add(to_string(trial.policy));
  words_["outcome"].add(std::string(to_string(trial.outcome)));
  words_["message"].add(trial.message);
  words_["strategy"].add(trial.strategy);
  words_["session"].add(trial.session);
  words_["created_at"].add(trial.created_at);
  words_["driver"].add(trial.device.driver);
  words_["nvrtc"].add(trial.nvrtc_version);
  words_["throttle"].add(trial.throttle.value_or(""));
  words_["config_hash"].add(trial.config_hash);
}

void TrialColumns::add_numbers(const Trial& trial, bool is_default) {
  const auto add = [this](const char* name, json value) {
    numbers_.try_emplace(name, json::array()).first->second.push_back(std::move(value));
  };
  const auto timed = [&](double Timing::*part) {
    return trial.timing ? json((*trial.timing).*part) : json();
  };
  add("id", trial.id);
  add("replayed", int{trial.replayed});
  add("final_round", int{trial.final_round});
  add("is_default", int{is_default});
  add("median_us", timed(&Timing::median_us));
  add("min_us", timed(&Timing::min_us));
  add("spread_us", timed(&Timing::spread_us));
  add("samples", trial.timing ? json(trial.timing->samples) : json());
  add("relative_error", error_number(trial.relative_error));
  add("max_abs_error", error_number(trial.max_abs_error));
  add("registers", trial.registers);
  add("spill_bytes", trial.spill_bytes);
  add("smem_bytes", trial.smem_bytes);
  add("compile_ms", rounded(trial.compile_ms, 0.5));
  add("sm_clock_mhz", trial.sm_clock_mhz ? json(*trial.sm_clock_mhz) : json());
}

// Where the template names no axis, the leaves of the JSON are axes: configs of kernels that have changed,
// and of other programs, are shown whole.
void TrialColumns::add_config(const json& node, const std::string& pointer, const Known& known) {
  const auto axis = known.axes.find(pointer);
  if (axis == known.axes.end() && node.is_structured() && !node.empty()) {
    for (const auto& [key, value] : node.items()) add_config(value, pointer + "/" + escaped(key), known);
    return;
  }
  const json about = axis != known.axes.end() ? axis->second
                                              : json{{"name", pointer.empty() ? "config" : pointer.substr(1)},
                                                     {"pointer", pointer}};
  const auto [found, is_new] =
      axes_.try_emplace({pointer, about.at("name").get<std::string>()}, AxisColumn{about, {}});
  AxisColumn& column = found->second;
  if (!is_new && axis != known.axes.end() &&
      column.about.value("domain", json::array()).size() < about.at("domain").size()) {
    column.about = about;  // another shape has more values: the longest order holds them all
  }
  while (column.values.size() < count_) column.values.add_nothing();
  column.values.add(node.dump(-1, ' ', false, json::error_handler_t::replace), node);
}

json TrialColumns::to_json() const {
  json words = json::object(), axes = json::array();
  for (const auto& [name, column] : words_) words[name] = column.to_json();
  for (const auto& [key, column] : axes_) {
    json axis = column.about;
    axis["values"] = column.values.to_json();
    axes.push_back(std::move(axis));
  }
  return {{"count", count_}, {"words", std::move(words)}, {"numbers", numbers_}, {"axes", std::move(axes)}};
}

}  // namespace attune
