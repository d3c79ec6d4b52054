// attune tune: the search for one shape, shown while it runs and summed up at its end.
#include "autotuner/tune.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "autotuner/open_compiler.h"
#include "autotuner/open_device.h"
#include "autotuner/strategy.h"
#include "autotuner/target.h"
#include "cache/location.h"
#include "cli/command.h"
#include "cli/database_flag.h"
#include "cli/interrupt.h"
#include "cli/llm_flags.h"
#include "cli/progress.h"
#include "cli/remote.h"
#include "cli/restrict.h"
#include "cli/search_flags.h"
#include "cli/seed_configs.h"
#include "cli/target.h"
#include "cli/text.h"
#include "cli/tune_report.h"
#include "compiler/compile_pool.h"

namespace attune::cli {
namespace {

constexpr const char* kTuneExamples = R"(Examples:
  attune tune --shape 4,32,4096,128 --max-trials 20
  attune tune --shape 4,32,4096,128 --strategy random --max-trials 20 --seed 1 --json
  attune tune --shape 4,32,4096,128 --strategy llm --max-trials 20 --llm-exchange asked --llm-record answers.jsonl
  attune tune --shape 4,32,4096,128 --strategy llm --max-trials 20 --llm-replay answers.jsonl

Every trial is stored when it ends: after Ctrl-C or worse the same command resumes.
Without a GPU the times are replayed from a recording of one; --require-gpu refuses that.
The strategy llm asks the OpenAI-compatible endpoint of ATTUNE_LLM_URL, ATTUNE_LLM_MODEL and ATTUNE_LLM_API_KEY,
or who answers the files of --llm-exchange; when nobody answers it goes on by itself.)";

struct TuneFlags {
  TargetFlags target;
  TuneOptions options;
  LlmFlags llm;
  std::vector<std::string> restrict_axes;
  std::vector<std::string> seed_configs;
  int threads = 0;
  std::string database;
  Remote remote;
  bool require_gpu = false;
  bool json = false;
};

// The parts of a search that have to be open before it starts; destroyed in reverse order.
struct Parts {
  std::unique_ptr<TrialStore> store;
  std::unique_ptr<CompilePool> compiler;
  std::unique_ptr<Device> device;
  std::string database;  // as it may be shown
};

Result<Parts> open_parts(const TuneFlags& flags, const Target& target) {
  Parts parts;
  const std::string location = database_location(flags.database);
  parts.database = shown(location);
  auto store = open_store(location);
  if (!store) return store.error();
  parts.store = std::move(*store);
  auto compiler = open_compiler(flags.threads);
  if (!compiler) return compiler.error();
  parts.compiler = std::move(*compiler);
  auto device = open_device(target, flags.options.policy, *parts.compiler);
  if (!device) return device.error();
  parts.device = std::move(*device);
  return parts;
}

int search(const TuneFlags& flags, const Target& target, const Space& space, Parts& parts,
           double setup_seconds, std::function<void(const std::string&)>& notices) {
  const std::atomic<bool>& stop = catch_interrupts();
  const int columns = terminal_columns(stderr);
  ProgressDisplay display(stderr, columns > 0, columns,
                          {flags.options.max_trials, flags.options.max_seconds});
  notices = [&display](const std::string& notice) {
    display.finish();
    fmt::print(stderr, "{}\n", notice);
  };
  const auto result =
      tune(target.shape, *target.tmpl, space, *parts.device, *parts.compiler, *parts.store, flags.options,
           stop, [&display](const TuneProgress& progress) { display.update(progress); });
  display.finish();
  notices = {};
  if (!result) return failed(result.error());

  const TuneReport report{target,       flags.options, *result, parts.database, parts.compiler->threads(),
                          setup_seconds};
  if (flags.json) {
    fmt::print("{}\n", to_json(report).dump(2));
  } else {
    fmt::print("{}", to_text(report));
  }
  if (result->interrupted) {
    return failed(fail("interrupted after {}; all are stored, the same command resumes",
                       count_of(result->totals.trials, "trial", "trials")));
  }
  if (!result->best) return failed(fail("no config passed; the outcomes above say why"));
  return kOk;
}

// With --server: the search is the server's, so is what it runs on.
int tune_there(TuneFlags& flags) {
  for (const auto& [given, name] : {std::pair{flags.target.device != "auto", "--device"},
                                    {!flags.database.empty(), "--db"},
                                    {flags.threads != 0, "--threads"},
                                    {flags.require_gpu, "--require-gpu"}}) {
    if (given) return usage_error(fail("{}: with --server that is the server's to choose", name));
  }
  const auto shape = parse_shape(flags.target.shape);
  if (!shape) return usage_error(shape.error());
  const auto restriction = parse_restrictions(flags.restrict_axes);
  if (!restriction) return usage_error(restriction.error());
  const auto seeds = read_seed_json(flags.seed_configs);
  if (!seeds) return usage_error(seeds.error());
  const TuneOptions& options = flags.options;
  return submit_and_follow(flags.remote,
                           {{"kind", "tune"},
                            {"shape", to_json(*shape)},
                            {"template", flags.target.template_name},
                            {"restrict", *restriction},
                            {"seed_configs", *seeds},
                            {"strategy", options.strategy},
                            {"max_trials", options.max_trials},
                            {"max_seconds", options.max_seconds},
                            {"seed", options.seed},
                            {"remeasure", options.remeasure}},
                           flags.json);
}

int run_tune(TuneFlags& flags) {
  if (!flags.remote.url.empty()) return tune_there(flags);
  if (const auto known = check_strategy(flags.options.strategy); !known) {
    return usage_error(fail("--strategy: {}", known.error().message));
  }
  if (const auto status = check_llm_flags(flags.llm, flags.options.strategy); !status)
    return usage_error(status.error());
  const auto restriction = parse_restrictions(flags.restrict_axes);
  if (!restriction) return usage_error(restriction.error());
  if (flags.require_gpu && gpus().empty()) {
    return no_gpu(fail("--require-gpu: this machine has no usable GPU; `attune doctor` says why"));
  }
  Target target;
  if (const int code = resolve_target(flags.target, Purpose::measure, target); code != kOk) return code;
  if (flags.require_gpu && !target.device.gpu) {
    return no_gpu(fail("--require-gpu: --device {} is not a GPU", flags.target.device));
  }
  const auto space = search_space(target, *restriction);
  if (!space) return usage_error(fail("--restrict: {}", space.error().message));
  auto seeds = read_seed_configs(flags.seed_configs, target);
  if (!seeds) return usage_error(seeds.error());
  const auto shipped = packs();
  if (!shipped) return failed(shipped.error());

  if (const auto notice = replay_notice(target.device, target.tmpl->hash()); !notice.empty()) {
    fmt::print(stderr, "{}\n", notice);
  }
  // Set while a search shows its progress: a notice must not be written into that line.
  std::function<void(const std::string&)> notices;
  const auto begin = std::chrono::steady_clock::now();
  auto parts = open_parts(flags, target);
  if (!parts) return failed(parts.error());
  const std::chrono::duration<double> setup = std::chrono::steady_clock::now() - begin;
  if (flags.options.strategy == "llm") {
    flags.options.window = static_cast<int>(outstanding_of(flags.options, *parts->device, *parts->compiler));
    auto session = open_chat(flags.llm, target, flags.options, [&notices](const std::string& notice) {
      if (notices) return notices(notice);
      fmt::print(stderr, "{}\n", notice);
    });
    if (!session) return failed(session.error());
    flags.options.llm = *std::move(session);
  }
  flags.options.start =
      start_configs(*std::move(seeds), *parts->store, *shipped, target, *space, flags.options.policy);
  return search(flags, target, *space, *parts, setup.count(), notices);
}

}  // namespace

Action configure_tune(CLI::App& app) {
  auto flags = std::make_shared<TuneFlags>();
  TuneOptions& options = flags->options;
  add_shape_flags(app, flags->target.shape);
  add_device_flag(app, flags->target);
  app.add_flag("--require-gpu", flags->require_gpu, "Fail with exit code 3 rather than replay a recording");
  add_template_flags(app, flags->target);
  std::string names;
  for (const StrategyInfo& info : strategies()) names += "\n" + info.name + ": " + info.help;
  app.add_option("--strategy", options.strategy, "How to search:" + names)
      ->capture_default_str()
      ->type_name("S");
  app.add_option("--max-trials", options.max_trials,
                 "Stop after this many trials, resumed ones included; 0: no limit")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  add_search_flags(app, options.max_seconds, options.seed, options.remeasure, flags->threads);
  add_restrict_flag(app, flags->restrict_axes);
  app.add_option("--seed-config", flags->seed_configs,
                 "A config to try first: its JSON or a file with it, the template's form or Helion's")
      ->type_name("FILE|JSON");
  add_llm_flags(app, flags->llm);
  add_database_flag(app, flags->database);
  add_server_flag(app, flags->remote);
  app.add_flag("--json", flags->json, "One JSON document on stdout; progress stays on stderr");
  app.footer(kTuneExamples);
  return [flags] { return run_tune(*flags); };
}

}  // namespace attune::cli
