// attune space: the axes of a shape on a device, exact counts, and why configs are illegal.
#include "autotuner/space.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/restrict.h"
#include "cli/target.h"
#include "cli/text.h"

namespace attune::cli {
namespace {

constexpr const char* kSpaceExamples = R"(Examples:
  attune space --shape 4,32,4096,128 --arch sm_90a
  attune space --shape 1,14,512,64 --kv-heads 2 --causal --arch sm_80 --restrict num_warps=4,8
  attune space --shape 4,32,4096,128 --arch sm_90a --config default)";

struct SpaceFlags {
  TargetFlags target;
  std::vector<std::string> restrict_axes;
  std::string config;
  bool json = false;
};

nlohmann::json axis_json(const Axis& axis) {
  nlohmann::json values = nlohmann::json::array();
  for (const AxisValue& value : axis.values) values.push_back(attune::to_json(value));
  return {{"name", axis.name}, {"pointer", axis.pointer},          {"values", values},
          {"help", axis.help}, {"conditional", bool(axis.active)}, {"depends_on", axis.depends_on}};
}

std::string values_text(const Axis& axis) {
  std::string text;
  for (const AxisValue& value : axis.values) {
    const std::string word = attune::to_string(value);
    text += (text.empty() ? "" : ",") + (word.empty() ? "\"\"" : word);
  }
  return text;
}

nlohmann::json space_json(const Target& target, const Space& space) {
  const Space::Report report = space.report();
  nlohmann::json json = to_json(target);
  for (const Axis& axis : space.axes()) json["axes"].push_back(axis_json(axis));
  json["combinations"] = report.combinations;
  json["legal"] = report.legal;
  json["rejected"] = nlohmann::json::array();
  for (const auto& [rule, count] : report.rejected) {
    nlohmann::json row = {{"rule", rule}, {"count", count}};
    for (const auto& [name, reason] : report.examples) {
      if (name == rule) row["example"] = reason;
    }
    json["rejected"].push_back(row);
  }
  return json;
}

void print_space(const nlohmann::json& json, const Target& target, const Space& space) {
  fmt::print("{} on {}, template {}\n\n", to_string(target.shape), target.device.facts.name,
             target.tmpl->name());
  std::vector<std::vector<std::string>> rows{{"axis", "values", "what it changes"}};
  for (const Axis& axis : space.axes()) {
    std::string name = axis.name + (axis.active ? " *" : "");
    rows.push_back({std::move(name), values_text(axis), axis.help});
  }
  fmt::print("{}\n* matters only for some values of other axes, and is left out of a config otherwise\n\n",
             table(rows));
  fmt::print("{} legal configs of {} combinations\n", grouped(json["legal"].get<std::uint64_t>()),
             grouped(json["combinations"].get<std::uint64_t>()));
  rows.clear();
  for (const auto& row : json["rejected"]) {
    const auto count = row["count"].get<std::uint64_t>();
    if (count == 0) continue;
    rows.push_back(
        {"  " + row["rule"].get<std::string>(), "rejects " + grouped(count), row.value("example", "")});
  }
  fmt::print("{}", table(rows));
}

// Illegal is an answer, not a usage error: exit code 1, the reason on stdout.
int judge(const SpaceFlags& flags, const Target& target) {
  const auto config = read_config(flags.config, target);
  if (flags.json) {
    nlohmann::json json = to_json(target);
    json["legal"] = config.ok();
    if (!config) json["reason"] = config.error().message;
    fmt::print("{}\n", json.dump(2));
  } else if (config) {
    fmt::print("legal\n");
  } else {
    fmt::print("not legal: {}\n", config.error().message);
  }
  return config ? kOk : kFailed;
}

int run_space(const SpaceFlags& flags) {
  const auto restriction = parse_restrictions(flags.restrict_axes);
  if (!restriction) return usage_error(restriction.error());
  Target target;
  if (const int code = resolve_target(flags.target, Purpose::ask, target); code != kOk) return code;
  if (!flags.config.empty()) return judge(flags, target);
  const Space whole(target.tmpl->space(target.shape, target.device.facts));
  const auto space = whole.restricted(*restriction);
  if (!space) return usage_error(fail("--restrict: {}", space.error().message));
  const auto json = space_json(target, *space);
  if (flags.json) {
    fmt::print("{}\n", json.dump(2));
  } else {
    print_space(json, target, *space);
  }
  return kOk;
}

}  // namespace

Action configure_space(CLI::App& app) {
  auto flags = std::make_shared<SpaceFlags>();
  add_shape_flags(app, flags->target.shape);
  add_device_flag(app, flags->target);
  add_arch_flag(app, flags->target);
  add_template_flags(app, flags->target);
  add_restrict_flag(app, flags->restrict_axes);
  app.add_option("--config", flags->config,
                 "Say whether this config (JSON, @FILE, default) is legal, and why not")
      ->type_name("JSON");
  app.add_flag("--json", flags->json, "One JSON document on stdout");
  app.footer(kSpaceExamples);
  return [flags] { return run_space(*flags); };
}

}  // namespace attune::cli
