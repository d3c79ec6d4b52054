// attune sweep: many shapes on one budget, summed up in a report and a pack.
#include "autotuner/sweep.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "autotuner/open_compiler.h"
#include "autotuner/strategy.h"
#include "autotuner/sweep_arms.h"
#include "autotuner/workload.h"
#include "cache/location.h"
#include "cli/command.h"
#include "cli/database_flag.h"
#include "cli/interrupt.h"
#include "cli/pack_file.h"
#include "cli/remote.h"
#include "cli/search_flags.h"
#include "cli/sweep_claims.h"
#include "cli/sweep_report.h"
#include "cli/target.h"
#include "cli/text.h"
#include "cli/write_file.h"
#include "compiler/compile_pool.h"

namespace attune::cli {
namespace {

constexpr const char* kSweepExamples = R"(Examples:
  attune sweep bench/workload.json --max-trials 6
  attune sweep bench/workload.json --max-seconds 600 --report report.md --pack h100.pack.jsonl
  attune sweep bench/workload.json --shard 3/4 --db shard3.db
  attune sweep bench/workload.json --baseline bench/results/peers_h100.json --max-trials 6 --json
  attune sweep bench/workload.json --claim --db postgresql://tuner@db.example/attune
  attune sweep --wanted

FILE is a list of shapes, or an object with "shapes", "dense" or "models" (docs/sweeps.md):
  [{"name": "prefill", "batch": 1, "q_heads": 32, "kv_heads": 8, "seq": 4096, "head_dim": 128, "causal": true}]
Every trial is stored when it ends: after Ctrl-C, SIGKILL or a power cut the same command goes on, and measures
nothing twice. Without a GPU the shapes that there are recordings of are replayed.)";

struct SweepFlags {
  std::string file;
  bool wanted = false;
  bool resume = false;
  std::string device = "auto";
  std::string gpus;
  std::string shard;
  std::vector<std::string> templates;
  std::int64_t max_trials = 200;
  SweepOptions options;
  int threads = 0;
  std::string database;
  Remote remote;
  std::string report;
  std::string baseline;
  std::string pack;
  bool require_gpu = false;
  bool json = false;
  ClaimFlags claims;
  std::string command;  // as it was given
};

// As it was given, for reports and packs; the program without its folder, a database without its password.
std::string command_line() {
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  std::string text;
  for (std::string word; std::getline(in, word, '\0');) {
    if (text.empty()) word.erase(0, word.rfind('/') + 1);
    const std::size_t value = word.starts_with("--db=") ? 5 : 0;
    text += (text.empty() ? "" : " ") + word.substr(0, value) + shown(word.substr(value));
  }
  return text;
}

Status check_names(const SweepFlags& flags) {
  if (const auto known = check_strategy(flags.options.strategy); !known) {
    return fail("--strategy: {}", known.error().message);
  }
  for (const std::string& name : flags.templates) {
    if (const auto found = find_template(name); !found) return fail("--templates: {}", found.error().message);
  }
  if (flags.file.empty() == !flags.wanted) return fail("name a FILE of shapes, or --wanted, and not both");
  return {};
}

Result<Workload> shard(const Workload& workload, const std::string& text) {
  if (text.empty()) return workload;
  std::size_t i = 0, n = 0;
  int used = 0;
  const bool read =
      std::sscanf(text.c_str(), "%zu/%zu%n", &i, &n, &used) == 2 && used == static_cast<int>(text.size());
  if (!read || i < 1 || i > n) return fail("--shard '{}': must be I/N with 1 <= I <= N, as in 2/8", text);
  return shard_of(workload, i, n);
}

Result<Workload> read_workload(const SweepFlags& flags, const TrialStore& store,
                               const std::string& gpu_name) {
  if (flags.wanted) {
    const auto wanted = store.wanted();
    if (!wanted) return wanted.error();
    const Workload workload = wanted_workload(*wanted, gpu_name);
    if (workload.rows.empty())
      return fail("nothing is wanted on {}: programs that run with ATTUNE_WANTED=1 queue what they miss",
                  gpu_name);
    return shard(workload, flags.shard);
  }
  const auto json = read_json_file(flags.file);
  if (!json) return json.error();
  const auto workload = parse_workload(*json);
  if (!workload) return fail("{}: {}", flags.file, workload.error().message);
  return shard(*workload, flags.shard);
}

// One line a helping: what was served, and how far the sweep is.
void print_progress(const SweepProgress& progress, const SweepFlags& flags) {
  std::string line =
      fmt::format("{}/{} shapes, {}, {:.1f}/s", progress.shapes_served, progress.shapes,
                  count_of(progress.trials, "trial", "trials"),
                  static_cast<double>(progress.trials) / std::max(progress.elapsed_seconds, 1e-3));
  if (flags.options.max_seconds > 0)
    line += ", " + duration(std::max(0.0, flags.options.max_seconds - progress.elapsed_seconds)) + " left";
  line += fmt::format("; {} ({})", to_string(progress.arm->shape), progress.arm->tmpl->name());
  if (progress.best_us) {
    const double flops = attention_flops(progress.arm->shape);
    line += fmt::format(": {}, {} TFLOP/s", milliseconds(*progress.best_us),
                        significant(tflops(flops, *progress.best_us)));
  }
  if (progress.gain && *progress.gain > 0.0005) line += fmt::format(", {:+.1f}%", *progress.gain * 100);
  if (flags.options.workers > 1) line += fmt::format(" [{}]", progress.worker);
  fmt::print(stderr, "{}\n", line);
}

void print_replay_notice(const SweepTarget& target, const SweepArms& made) {
  if (!target.replays) return;
  fmt::print(stderr, "REPLAY: nothing is measured here; times are replayed from recordings of {}\n",
             target.device.name);
  for (const SweepArm& arm : made.arms) {
    for (const RecordingInfo& info : target.recordings) {
      if (info.shape != arm.shape || info.template_name != arm.tmpl->name()) continue;
      const std::string stale = staleness(info, arm.tmpl->hash());
      if (!stale.empty()) fmt::print(stderr, "REPLAY: {}\n", stale);
    }
  }
}

std::int64_t stored_trials(const TrialStore& store, const SweepArms& made) {
  std::int64_t trials = 0;
  for (const SweepArm& arm : made.arms) {
    TrialFilter filter;
    filter.shape = arm.shape;
    filter.template_name = arm.tmpl->name();
    filter.template_hash = arm.tmpl->hash();
    filter.gpu_name = arm.device.name;
    filter.replayed = arm.replays;
    trials += store.count(filter) ? *store.count(filter) : 0;
  }
  return trials;
}

int finish(const SweepFlags& flags, const SweepReport& report, const TrialStore& store) {
  if (flags.json) {
    fmt::print("{}\n", to_json(report).dump(2));
  } else {
    fmt::print("{}", to_text(report));
  }
  if (report.result.interrupted) {
    return failed(fail("interrupted after {}; all are stored, the same command goes on",
                       count_of(report.result.totals.trials, "trial", "trials")));
  }
  if (!flags.report.empty()) {
    if (auto status = write_file(flags.report, to_markdown(report)); !status) return failed(status.error());
    if (!flags.json) fmt::print("report     {}\n", flags.report);
  }
  if (!flags.pack.empty()) {
    TrialFilter filter;
    filter.gpu_name = report.device.name;
    filter.replayed = report.replayed;
    filter.policy = report.options.policy;
    const auto made = write_pack(
        store, filter,
        {.name = "", .path = "", .made_at = "", .attune = "", .command = flags.command, .commit = ""},
        flags.pack);
    if (!made) return failed(made.error());
    if (!flags.json)
      fmt::print("pack       {}, {}\n", flags.pack, count_of(made->records, "record", "records"));
  }
  if (report.result.failures.empty()) return kOk;
  return failed(fail("gave up on {}; the first: {}",
                     count_of(static_cast<std::int64_t>(report.result.failures.size()), "search", "searches"),
                     report.result.failures.front()));
}

// Alone, or with other hosts (--claim).
Result<ClaimedSweep> search_arms(const SweepFlags& flags, const SweepArms& made, CompilePool& compiler,
                                 TrialStore& store, const Packs& shipped, const std::string& location) {
  const std::function<void(const SweepProgress&)> told = [&flags](const SweepProgress& progress) {
    print_progress(progress, flags);
  };
  if (flags.claims.claim) {
    const auto board = open_claims(location, kClaimPatienceMs);
    if (!board) return board.error();
    return claimed_sweep(made.arms, compiler, store, **board, shipped, flags.options,
                         claim_options(flags.claims), catch_interrupts(), told, print_claim_event);
  }
  auto result = sweep(made.arms, compiler, store, shipped, flags.options, catch_interrupts(), told);
  if (!result) return result.error();
  return ClaimedSweep{*std::move(result), {}};
}

int search(SweepFlags& flags, const SweepTarget& target, TrialStore& store, const std::string& location) {
  const std::string database = shown(location);
  const auto workload = read_workload(flags, store, target.device.name);
  if (!workload) return flags.wanted ? failed(workload.error()) : usage_error(workload.error());
  std::optional<SweepBaseline> baseline;
  if (!flags.baseline.empty()) {
    auto read = read_baseline(flags.baseline, *workload);
    if (!read) return usage_error(read.error());
    baseline = *std::move(read);
  }
  const auto shipped = packs();
  if (!shipped) return failed(shipped.error());
  const auto opened = open_compiler(flags.threads);
  if (!opened) return failed(opened.error());
  CompilePool& compiler = **opened;

  const SweepArms made = sweep_arms(*workload, target, flags.templates, flags.options.policy, compiler);
  if (made.arms.empty())
    return failed(fail("no shape can be swept here; the first: {}", made.left_out.front()));
  if (flags.resume && stored_trials(store, made) == 0)
    return failed(
        fail("--resume: {} has no trials of this sweep; without --resume it starts anew", database));
  print_replay_notice(target, made);
  if (!made.left_out.empty())
    fmt::print(stderr, "{} of {} rows are left out; the first: {}\n", made.left_out.size(),
               workload->rows.size(), made.left_out.front());

  flags.options.workers = std::max(1, static_cast<int>(target.gpus.size()));
  flags.options.schedule = portions(flags.max_trials);
  const auto swept = search_arms(flags, made, compiler, store, *shipped, location);
  if (!swept) {
    return failed(fail("the sweep stopped: {}; what was measured before is stored, the same command goes on",
                       swept.error().message));
  }
  SweepReport report{*workload,     made.shape_of_row, made.left_out, swept->result, flags.options,
                     target.device, target.replays,    flags.command, database,      baseline};
  if (flags.claims.claim) report.claims = swept->share;
  return finish(flags, report, store);
}

// With --server: the sweep is the server's, so is what it runs on.
int sweep_there(SweepFlags& flags) {
  for (const auto& [given, name] : {std::pair{flags.device != "auto", "--device"},
                                    {!flags.gpus.empty(), "--gpus"},
                                    {!flags.database.empty(), "--db"},
                                    {flags.threads != 0, "--threads"},
                                    {flags.require_gpu, "--require-gpu"},
                                    {flags.wanted, "--wanted"},
                                    {!flags.shard.empty(), "--shard"},
                                    {!flags.report.empty(), "--report"},
                                    {!flags.baseline.empty(), "--baseline"},
                                    {!flags.pack.empty(), "--pack"}}) {
    if (given)
      return usage_error(fail("{} does not go with --server, which has its own database and GPUs", name));
  }
  const auto workload = read_json_file(flags.file);
  if (!workload) return usage_error(workload.error());
  return submit_and_follow(flags.remote,
                           {{"kind", "sweep"},
                            {"workload", *workload},
                            {"templates", flags.templates},
                            {"strategy", flags.options.strategy},
                            {"max_trials", flags.max_trials},
                            {"max_seconds", flags.options.max_seconds},
                            {"seed", flags.options.seed},
                            {"remeasure", flags.options.remeasure}},
                           flags.json);
}

int run_sweep(SweepFlags& flags) {
  if (const auto status = check_names(flags); !status) return usage_error(status.error());
  if (!flags.remote.url.empty()) return sweep_there(flags);
  const std::string database = database_location(flags.database);
  if (const auto status = check_claim_flags(flags.claims, database, flags.options.remeasure); !status)
    return usage_error(status.error());
  if (flags.require_gpu && gpus().empty())
    return no_gpu(fail("--require-gpu: this machine has no usable GPU; `attune doctor` says why"));
  const auto target = sweep_target(flags.device, flags.gpus);
  if (!target) {
    const bool named_gpu = !flags.gpus.empty() || flags.device.starts_with("gpu:");
    return named_gpu && gpus().empty() ? no_gpu(target.error()) : usage_error(target.error());
  }
  if (flags.require_gpu && target->replays)
    return no_gpu(fail("--require-gpu: --device {} is not a GPU", flags.device));
  if (flags.resume || flags.wanted) {
    if (const auto there = open_existing(database); !there) return failed(there.error());
  }
  StoreOptions options;
  if (flags.claims.claim) options.server_patience_ms = kClaimPatienceMs;
  const auto store = open_store(database, options);
  if (!store) return failed(store.error());
  return search(flags, *target, **store, database);
}

}  // namespace

Action configure_sweep(CLI::App& app) {
  auto flags = std::make_shared<SweepFlags>();
  SweepOptions& options = flags->options;
  app.add_option("file", flags->file, "The shapes, as JSON")->type_name("FILE");
  app.add_flag("--wanted", flags->wanted, "The shapes that programs asked for (`attune cache wanted`)");
  app.add_flag("--resume", flags->resume,
               "Fail unless the database has trials of this sweep (it resumes anyway)");
  add_devices_flags(app, flags->device, flags->gpus, flags->require_gpu);
  app.add_option("--shard", flags->shard,
                 "Only part I of N of the shapes, for job arrays; `attune cache merge` joins")
      ->type_name("I/N");
  app.add_option("--templates", flags->templates, "Only these kernel templates, as in hopper,portable")
      ->delimiter(',')
      ->type_name("NAMES");
  app.add_option("--strategy", options.strategy, "How to search; `attune tune --help` lists them")
      ->capture_default_str()
      ->type_name("S");
  app.add_option("--max-trials", flags->max_trials,
                 "Of a shape, its templates together, stored ones included; 0: no limit")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  add_search_flags(app, options.max_seconds, options.seed, options.remeasure, flags->threads);
  add_database_flag(app, flags->database);
  add_claim_flags(app, flags->claims);
  add_server_flag(app, flags->remote);
  app.add_option("--report", flags->report, "Where the Markdown report goes")->type_name("FILE");
  app.add_option("--baseline", flags->baseline,
                 "A result of bench/peers.py: the report compares with its SDPA times")
      ->type_name("FILE");
  app.add_option("--pack", flags->pack, "Where a pack of the records goes, NAME.pack.jsonl")
      ->type_name("FILE");
  app.add_flag("--json", flags->json, "One JSON document on stdout; progress stays on stderr");
  app.footer(kSweepExamples);
  return [flags] {
    flags->command = command_line();
    return run_sweep(*flags);
  };
}

}  // namespace attune::cli
