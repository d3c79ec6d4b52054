#include "templates/launch_spec_json.h"

#include <nlohmann/json.hpp>

namespace attune {

nlohmann::json to_json(const LaunchSpec& spec) {
  return {{"grid", spec.grid},
          {"block", spec.block},
          {"cluster", spec.cluster},
          {"smem_bytes", spec.smem_bytes},
          {"workspace_bytes", spec.workspace_bytes},
          {"programmatic_dependent_launch", spec.programmatic_dependent_launch},
          {"parameters", spec.parameters}};
}

Result<LaunchSpec> launch_spec_from_json(const nlohmann::json& json) {
  LaunchSpec spec;
  try {
    json.at("grid").get_to(spec.grid);
    json.at("block").get_to(spec.block);
    json.at("cluster").get_to(spec.cluster);
    json.at("smem_bytes").get_to(spec.smem_bytes);
    json.at("workspace_bytes").get_to(spec.workspace_bytes);
    json.at("programmatic_dependent_launch").get_to(spec.programmatic_dependent_launch);
    json.at("parameters").get_to(spec.parameters);
  } catch (const nlohmann::json::exception& exception) {
    return fail("not a launch description: {}", exception.what());
  }
  return spec;
}

}  // namespace attune
