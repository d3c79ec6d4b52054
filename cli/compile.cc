// attune compile: one config to a cubin, with what the compiler says of its resources.
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "autotuner/compile_report.h"
#include "cli/command.h"
#include "cli/target.h"
#include "cli/text.h"
#include "cli/write_file.h"
#include "compiler/compile_pool.h"
#include "compiler/cubin_store.h"
#include "compiler/nvrtc.h"

namespace attune::cli {
namespace {

constexpr std::chrono::minutes kTimeout{2};

constexpr const char* kExamples = R"(Examples:
  attune compile --shape 4,32,4096,128 --config default --arch sm_90a -o attention.cubin
  attune compile --shape 1,32,2048,64 --kv-heads 8 --causal --config default --arch sm_80 -o a.cubin --json)";

struct CompileFlags {
  TargetFlags target;
  std::string config = "default";
  std::string output;
  bool json = false;
};

// The line of the log that says what is wrong.
std::string first_error(const std::string& log) {
  const std::size_t at = log.find("error");
  if (at == std::string::npos) return log.substr(0, log.find('\n'));
  const std::size_t start = log.rfind('\n', at) + 1;
  return log.substr(start, log.find('\n', at) - start);
}

nlohmann::json report_json(const Target& target, const Config& config, const CompiledKernel& kernel,
                           const std::string& output) {
  auto json = compile_report(target, config, kernel);
  json["output"] = output;
  return json;
}

std::string join(const nlohmann::json& numbers) {
  return fmt::format("{}x{}x{}", numbers[0].get<unsigned>(), numbers[1].get<unsigned>(),
                     numbers[2].get<unsigned>());
}

std::string warnings_text(const std::vector<std::string>& warnings) {
  if (warnings.empty()) return "none";
  std::string text;
  for (const std::string& warning : warnings) text += (text.empty() ? "" : ", ") + warning;
  return text;
}

void print_report(const nlohmann::json& json, const CompiledKernel& kernel) {
  const auto& launch = json["launch"];
  const auto bytes = [&](const char* key) { return json[key].get<std::int64_t>(); };
  const std::string spills =
      fmt::format("{} B stored, {} B loaded", bytes("spill_store_bytes"), bytes("spill_load_bytes"));
  const std::string smem = fmt::format("{} B static, {} B dynamic a CTA", bytes("static_smem_bytes"),
                                       launch["smem_bytes"].get<std::int64_t>());
  fmt::print("{}",
             table({{"config", json["config"].dump()},
                    {"arch", kernel.arch},
                    {"registers", fmt::format("{} a thread", kernel.usage.registers)},
                    {"spills", spills},
                    {"stack", fmt::format("{} B a thread", kernel.usage.stack_bytes)},
                    {"smem", smem},
                    {"warnings", warnings_text(kernel.warnings)},
                    {"launch", fmt::format("grid {}, block {}, cluster {}", join(launch["grid"]),
                                           join(launch["block"]), join(launch["cluster"]))},
                    {"compile", fmt::format("{}{}", milliseconds(kernel.compile_ms * 1000),
                                            kernel.from_store ? ", earlier: taken from the store" : "")},
                    {"cubin", fmt::format("{}, {}", json["output"].get<std::string>(),
                                          byte_size(static_cast<std::int64_t>(kernel.cubin.size())))}}));
}

int run_compile(const CompileFlags& flags) {
  Target target;
  if (const int code = resolve_target(flags.target, Purpose::ask, target); code != kOk) return code;
  const auto config = read_config(flags.config, target);
  if (!config) return usage_error(config.error());
  auto nvrtc = Nvrtc::open();
  if (!nvrtc) return failed(nvrtc.error());
  auto store = CubinStore::open(CubinStore::default_folder());
  if (!store) return failed(store.error());

  CompilePool pool(*nvrtc, *store, 1, kTimeout);
  const DeviceFacts& facts = target.device.facts;
  const CompiledKernel kernel = pool.compile(target.tmpl->render(target.shape, facts, *config), facts.arch);
  if (kernel.outcome == CompileOutcome::timeout) {
    return failed(fail("NVRTC did not finish within {} minutes", kTimeout.count()));
  }
  if (kernel.outcome == CompileOutcome::error) {
    if (flags.json) fmt::print("{}\n", report_json(target, *config, kernel, "").dump(2));
    return failed(
        fail("the kernel does not compile: {} (--json shows the whole log)", first_error(kernel.log)));
  }
  if (const auto written = write_file(flags.output, kernel.cubin); !written) return failed(written.error());
  const auto json = report_json(target, *config, kernel, flags.output);
  if (flags.json) {
    fmt::print("{}\n", json.dump(2));
  } else {
    print_report(json, kernel);
  }
  return kOk;
}

}  // namespace

Action configure_compile(CLI::App& app) {
  auto flags = std::make_shared<CompileFlags>();
  add_shape_flags(app, flags->target.shape);
  app.add_option("--config", flags->config, "The config: JSON, @FILE, or default")
      ->capture_default_str()
      ->type_name("JSON");
  add_arch_flag(app, flags->target);
  app.get_option("--arch")->required();
  app.add_option("-o,--output", flags->output, "Where the cubin goes")->type_name("FILE")->required();
  add_template_flags(app, flags->target);
  app.add_flag("--json", flags->json, "The report as one JSON document");
  app.footer(kExamples);
  return [flags] { return run_compile(*flags); };
}

}  // namespace attune::cli
