// attune compile: one config to a cubin, with what the compiler says of its resources.
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "autotuner/compile_report.h"
#include "base/hash.h"
#include "cli/command.h"
#include "cli/remote.h"
#include "cli/target.h"
#include "cli/text.h"
#include "cli/write_file.h"
#include "compiler/compile_pool.h"
#include "compiler/cubin_store.h"
#include "compiler/nvrtc.h"

namespace attune::cli {
namespace {

constexpr std::chrono::minutes kTimeout{2};

constexpr const char* kCompileExamples = R"(Examples:
  attune compile --shape 4,32,4096,128 --config default --arch sm_90a -o attention.cubin
  attune compile --shape 1,32,2048,64 --kv-heads 8 --causal --config default --arch sm_80 -o a.cubin --json)";

struct CompileFlags {
  TargetFlags target;
  std::string config = "default";
  std::string output;
  Remote remote;
  bool json = false;
};

// The line of the log that says what is wrong.
std::string first_error(const std::string& log) {
  const std::size_t at = log.find("error");
  if (at == std::string::npos) return log.substr(0, log.find('\n'));
  const std::size_t start = log.rfind('\n', at) + 1;
  return log.substr(start, log.find('\n', at) - start);
}

std::string join(const nlohmann::json& numbers) {
  return fmt::format("{}x{}x{}", numbers[0].get<unsigned>(), numbers[1].get<unsigned>(),
                     numbers[2].get<unsigned>());
}

std::string warnings_text(const nlohmann::json& warnings) {
  if (warnings.empty()) return "none";
  std::string text;
  for (const auto& warning : warnings) text += (text.empty() ? "" : ", ") + warning.get<std::string>();
  return text;
}

void print_report(const nlohmann::json& json) {
  const auto& launch = json["launch"];
  const auto bytes = [&](const char* key) { return json[key].get<std::int64_t>(); };
  const std::string spills =
      fmt::format("{} B stored, {} B loaded", bytes("spill_store_bytes"), bytes("spill_load_bytes"));
  const std::string smem = fmt::format("{} B static, {} B dynamic a CTA", bytes("static_smem_bytes"),
                                       launch["smem_bytes"].get<std::int64_t>());
  fmt::print("{}",
             table({{"config", json["config"].dump()},
                    {"arch", json["arch"].get<std::string>()},
                    {"registers", fmt::format("{} a thread", bytes("registers"))},
                    {"spills", spills},
                    {"stack", fmt::format("{} B a thread", bytes("stack_bytes"))},
                    {"smem", smem},
                    {"warnings", warnings_text(json["warnings"])},
                    {"launch", fmt::format("grid {}, block {}, cluster {}", join(launch["grid"]),
                                           join(launch["block"]), join(launch["cluster"]))},
                    {"compile",
                     fmt::format("{}{}", milliseconds(json["compile_ms"].get<double>() * 1000),
                                 json["from_store"].get<bool>() ? ", earlier: taken from the store" : "")},
                    {"cubin", fmt::format("{}, {}", json["output"].get<std::string>(),
                                          byte_size(bytes("cubin_bytes")))}}));
}

// What a compile gave, here or on a server.
struct Compiled {
  nlohmann::json report;
  std::string cubin;
};

std::variant<Compiled, RemoteError> compile_there(CompileFlags& flags, const Target& target,
                                                  const Config& config) {
  const auto& definition = target.tmpl->space(target.shape, target.device.facts);
  auto answer = ask_server(flags.remote, "/v1/compile",
                           nlohmann::json{{"shape", to_json(target.shape)},
                                          {"arch", flags.target.arch},
                                          {"template", target.tmpl->name()},
                                          {"template_hash", target.tmpl->hash()},
                                          {"config", config_to_json(config, definition)}});
  if (auto* refusal = std::get_if<RemoteError>(&answer)) return *refusal;
  Compiled compiled{std::get<RemoteAnswer>(answer).json, ""};
  const auto where = compiled.report.find("cubin");
  if (where == compiled.report.end() || !where->is_string()) return compiled;  // it does not compile
  auto bytes = ask_server(flags.remote, where->get<std::string>());
  if (auto* refusal = std::get_if<RemoteError>(&bytes)) return *refusal;
  compiled.cubin = std::move(std::get<RemoteAnswer>(bytes).bytes);
  if (sha256_hex(compiled.cubin) != compiled.report.value("cubin_hash", ""))
    return RemoteError{
        fail("{} sent a cubin that is not the one it named: its hash differs", flags.remote.url), false};
  return compiled;
}

Result<Compiled> compile_here(const Target& target, const Config& config) {
  auto nvrtc = Nvrtc::open();
  if (!nvrtc) return nvrtc.error();
  auto store = CubinStore::open(CubinStore::default_folder());
  if (!store) return store.error();
  CompilePool pool(*nvrtc, *store, 1, kTimeout);
  const DeviceFacts& facts = target.device.facts;
  CompiledKernel kernel = pool.compile(target.tmpl->render(target.shape, facts, config), facts.arch);
  return Compiled{compile_report(target, config, kernel), std::move(kernel.cubin)};
}

int finish(const CompileFlags& flags, Compiled compiled) {
  nlohmann::json& report = compiled.report;
  const std::string outcome = report.value("outcome", "");
  report["output"] = outcome == "ok" ? flags.output : "";
  if (outcome == "timeout") return failed(fail("NVRTC did not finish within {} minutes", kTimeout.count()));
  if (outcome != "ok") {
    if (flags.json) fmt::print("{}\n", report.dump(2));
    return failed(fail("the kernel does not compile: {} (--json shows the whole log)",
                       first_error(report.value("log", ""))));
  }
  if (const auto written = write_file(flags.output, compiled.cubin); !written) return failed(written.error());
  if (flags.json) {
    fmt::print("{}\n", report.dump(2));
  } else {
    print_report(report);
  }
  return kOk;
}

int run_compile(CompileFlags& flags) {
  Target target;
  if (const int code = resolve_target(flags.target, Purpose::ask, target); code != kOk) return code;
  const auto config = read_config(flags.config, target);
  if (!config) return usage_error(config.error());
  if (!flags.remote.url.empty()) {
    auto there = compile_there(flags, target, *config);
    if (auto* compiled = std::get_if<Compiled>(&there)) return finish(flags, std::move(*compiled));
    const RemoteError& refusal = std::get<RemoteError>(there);
    if (!refusal.unreachable) return failed(refusal.error);
    say_going_on_here(refusal.error);
  }
  auto here = compile_here(target, *config);
  if (!here) return failed(here.error());
  return finish(flags, *std::move(here));
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
  add_server_flag(app, flags->remote);
  app.add_flag("--json", flags->json, "The report as one JSON document");
  app.footer(kCompileExamples);
  return [flags] { return run_compile(*flags); };
}

}  // namespace attune::cli
