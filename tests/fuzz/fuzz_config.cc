// Configs, shapes and workloads as JSON: --config, --seed-config, sweep files, and what a program sends.
// The first byte picks a template and a shape for the config; without it the text is a shape or a workload.
#include <array>
#include <nlohmann/json.hpp>

#include "autotuner/workload.h"
#include "base/json_text.h"
#include "cache/trial_json.h"
#include "fuzz.h"
#include "templates/attention_template.h"
#include "templates/helion_config.h"

namespace attune {
namespace {

using Json = nlohmann::json;

struct Target {
  const AttentionTemplate* tmpl;
  SpaceDefinition definition;
  Config standard;
};

const std::vector<Target>& targets() {
  static const std::vector<Target> all = [] {
    const DeviceFacts device = *nominal_facts("sm_90a");
    std::vector<Target> made;
    for (const Shape& shape :
         {Shape{.batch = 4, .q_heads = 32, .kv_heads = 32, .q_len = 4096, .kv_len = 4096, .head_dim = 128},
          *validated(
              {.q_heads = 14, .kv_heads = 2, .q_len = 512, .kv_len = 512, .mask = Mask::causal_top_left}),
          Shape{.batch = 8, .q_heads = 32, .kv_heads = 8, .q_len = 1, .kv_len = 8192, .head_dim = 80}}) {
      for (const AttentionTemplate* tmpl : attention_templates()) {
        if (tmpl->supports(shape, device))
          made.push_back({tmpl, tmpl->space(shape, device), tmpl->default_config(shape, device)});
      }
    }
    return made;
  }();
  return all;
}

void read_config(const Json& json, const Target& target) {
  const auto config = is_helion_config(json) ? config_from_helion(json, target.definition, target.standard)
                                             : config_from_json(json, target.definition);
  if (!config) return must_be_one_line(config.error());
  must(static_cast<bool>(check_config(*config, target.definition)), "a config that was read is legal");
  const std::string canonical = canonical_json(*config, target.definition);
  const auto again = config_from_json(Json::parse(canonical), target.definition);
  must(again && *again == *config, "canonical JSON is the config", canonical);
}

// What is legal for a shape must not depend on luck: its space can be made, and the default is a member.
void read_shape(const Json& json) {
  const auto shape = shape_from_json(json);
  if (!shape) return must_be_one_line(shape.error());
  const auto again = shape_from_json(to_json(*shape));
  must(again && *again == *shape, "a shape's JSON is the shape");
  const DeviceFacts device = *nominal_facts("sm_90a");
  for (const AttentionTemplate* tmpl : attention_templates()) {
    const auto supported = tmpl->supports(*shape, device);
    if (!supported) {
      must_be_one_line(supported.error());
      continue;
    }
    const auto config = tmpl->default_config(*shape, device);
    const auto legal = check_config(config, tmpl->space(*shape, device));
    must(legal.ok(), "the default config is legal", legal ? "" : legal.error().message);
    (void)tmpl->launch_spec(*shape, device, config);
  }
}

template <class Value>
void expect_one_line(const Result<Value>& result) {
  if (!result) must_be_one_line(result.error());
}

}  // namespace
}  // namespace attune

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace attune;
  if (size == 0) return 0;
  const auto whole = parse_outside_json(text_of(data, size));
  if (!whole.is_discarded()) {
    read_shape(whole);
    expect_one_line(parse_workload(whole));
    expect_one_line(trial_from_json(whole));
    expect_one_line(device_facts_from_json(whole));
    return 0;
  }
  const auto json = parse_outside_json(text_of(data + 1, size - 1));
  if (!json.is_discarded()) read_config(json, targets()[data[0] % targets().size()]);
  return 0;
}
