#include "compiler/compiled_kernel_json.h"

#include <nlohmann/json.hpp>

namespace attune {

nlohmann::json resources_json(const CompiledKernel& kernel) {
  return {{"registers", kernel.usage.registers},
          {"spill_store_bytes", kernel.usage.spill_store_bytes},
          {"spill_load_bytes", kernel.usage.spill_load_bytes},
          {"stack_bytes", kernel.usage.stack_bytes},
          {"static_smem_bytes", kernel.usage.static_smem_bytes},
          {"warnings", kernel.warnings},
          {"log", kernel.log},
          {"compile_ms", kernel.compile_ms}};
}

nlohmann::json to_json(const CompiledKernel& kernel) {
  nlohmann::json json = resources_json(kernel);
  json.update({{"outcome", kernel.outcome == CompileOutcome::ok ? "ok" : "error"},
               {"key", kernel.key},
               {"entry", kernel.entry},
               {"arch", kernel.arch},
               {"cubin_hash", kernel.cubin_hash}});
  return json;
}

CompiledKernel compiled_kernel_from_json(const nlohmann::json& json) {
  CompiledKernel kernel;
  kernel.outcome = json.at("outcome") == "ok" ? CompileOutcome::ok : CompileOutcome::error;
  json.at("key").get_to(kernel.key);
  json.at("entry").get_to(kernel.entry);
  json.at("arch").get_to(kernel.arch);
  json.at("cubin_hash").get_to(kernel.cubin_hash);
  json.at("registers").get_to(kernel.usage.registers);
  json.at("spill_store_bytes").get_to(kernel.usage.spill_store_bytes);
  json.at("spill_load_bytes").get_to(kernel.usage.spill_load_bytes);
  json.at("stack_bytes").get_to(kernel.usage.stack_bytes);
  json.at("static_smem_bytes").get_to(kernel.usage.static_smem_bytes);
  json.at("warnings").get_to(kernel.warnings);
  json.at("log").get_to(kernel.log);
  json.at("compile_ms").get_to(kernel.compile_ms);
  return kernel;
}

}  // namespace attune
