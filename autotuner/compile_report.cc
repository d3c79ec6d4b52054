#include "autotuner/compile_report.h"

#include <nlohmann/json.hpp>

#include "compiler/compiled_kernel_json.h"
#include "templates/launch_spec_json.h"

namespace attune {
namespace {

const char* outcome_name(CompileOutcome outcome) {
  switch (outcome) {
    case CompileOutcome::ok:
      return "ok";
    case CompileOutcome::timeout:
      return "timeout";
    case CompileOutcome::error:
      break;
  }
  return "compile_error";
}

}  // namespace

nlohmann::json compile_report(const Target& target, const Config& config, const CompiledKernel& kernel) {
  const auto& definition = target.tmpl->space(target.shape, target.device.facts);
  const LaunchSpec launch = target.tmpl->launch_spec(target.shape, target.device.facts, config);
  const std::string canonical = canonical_json(config, definition);
  nlohmann::json json = resources_json(kernel);
  json.update({{"shape", to_json(target.shape)},
               {"template", target.tmpl->name()},
               {"arch", kernel.arch},
               {"config", nlohmann::json::parse(canonical)},
               {"config_hash", config_hash(canonical)},
               {"outcome", outcome_name(kernel.outcome)},
               {"entry", kernel.entry},
               {"from_store", kernel.from_store},
               {"cubin_key", kernel.key},
               {"cubin_hash", kernel.cubin_hash},
               {"cubin_bytes", kernel.cubin.size()},
               {"launch", to_json(launch)}});
  return json;
}

}  // namespace attune
