#include "serve/job_runner.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <unordered_set>

#include "autotuner/forwarding_store.h"
#include "autotuner/llm/chat_session.h"
#include "autotuner/open_device.h"
#include "autotuner/recorded_device.h"
#include "autotuner/strategy.h"
#include "autotuner/sweep.h"
#include "autotuner/tune_report.h"
#include "cache/trial_json.h"
#include "serve/metered_device.h"
#include "templates/helion_config.h"

namespace attune::serve {
namespace {

using Clock = std::chrono::steady_clock;

const RecordingInfo* recording_of(const SweepTarget& devices, const Shape& shape,
                                  const std::string& template_name) {
  for (const RecordingInfo& info : devices.recordings) {
    if (info.shape == shape && (template_name.empty() || info.template_name == template_name)) return &info;
  }
  return nullptr;
}

Error no_recording(const SweepTarget& devices, const Shape& shape) {
  std::string names;
  for (const RecordingInfo& info : devices.recordings)
    names += fmt::format("{}{} ({})", names.empty() ? "" : "; ", info.name, to_string(info.shape));
  return fail("this server has no GPU and no recording of {}; there are: {}", to_string(shape), names);
}

Result<const AttentionTemplate*> template_for(const JobRequest& request, const SweepTarget& devices) {
  std::string name = request.template_name;
  if (devices.replays) {
    const RecordingInfo* info = recording_of(devices, request.shape, name);
    if (info == nullptr) return no_recording(devices, request.shape);
    name = info->template_name;
  }
  return choose_template(name, request.shape, DeviceChoice{devices.device, {}, {}});
}

Result<std::vector<Config>> read_seeds(const JobRequest& request, const AttentionTemplate& tmpl,
                                       const DeviceFacts& device) {
  if (request.seed_configs.empty()) return std::vector<Config>();
  const SpaceDefinition definition = tmpl.space(request.shape, device);
  const Config fallback = tmpl.default_config(request.shape, device);
  std::vector<Config> configs;
  for (const auto& item : request.seed_configs) {
    auto config = is_helion_config(item) ? config_from_helion(item, definition, fallback)
                                         : config_from_json(item, definition);
    if (!config) return fail("'seed_configs': {}", config.error().message);
    configs.push_back(*std::move(config));
  }
  return configs;
}

Status check_sweep(const JobRequest& request, const SweepTarget& devices) {
  for (const std::string& name : request.templates) {
    if (const auto found = find_template(name); !found) return fail("'templates': {}", found.error().message);
  }
  const auto workload = parse_workload(request.workload);
  if (!workload) return fail("'workload': {}", workload.error().message);
  const auto servable = [&](const Shape& shape) {
    if (devices.replays) return recording_of(devices, shape, "") != nullptr;
    return default_template(shape, devices.device).ok();
  };
  for (const WorkloadRow& row : workload->rows) {
    if (servable(row.shape)) return {};
  }
  const Shape& first = workload->rows.front().shape;
  if (devices.replays) return no_recording(devices, first);
  return default_template(first, devices.device).error();
}

// Tells of every trial that is stored, with its shape's best.
class TellingStore final : public ForwardingStore {
 public:
  TellingStore(const JobTools& tools, const TrialListener& listener)
      : ForwardingStore(tools.store), tools_(tools), listener_(listener) {}

  Status add(Trial& trial) override {
    if (auto status = ForwardingStore::add(trial); !status) return status;
    const CompileStats stats = tools_.compiler.stats();
    tools_.metrics.compiled = stats.compiled;
    tools_.metrics.from_store = stats.from_store;
    tools_.metrics.compile_seconds = stats.compile_seconds;
    return tell(trial, true);
  }

  Status tell(const Trial& trial, bool fresh) {
    if (!told_.insert(trial.id).second) return {};
    auto& best = best_[to_string(trial.shape)];
    if (trial.outcome == Outcome::ok) {
      const std::pair<bool, double> claim{!trial.final_round, trial.timing->median_us};
      if (!best || claim < *best) best = claim;
    }
    return listener_({trial, best ? std::optional(best->second) : std::nullopt, fresh});
  }

 private:
  const JobTools& tools_;
  const TrialListener& listener_;
  std::map<std::string, std::optional<std::pair<bool, double>>> best_;
  std::unordered_set<std::int64_t> told_;
};

JobEnd failed(const Error& error) {
  return {.state = JobState::failed, .message = error.message, .result = {}, .interrupted = false};
}

Result<Target> target_of(const JobRequest& request, const JobTools& tools) {
  Target target;
  target.shape = request.shape;
  const auto tmpl = template_for(request, tools.devices);
  if (!tmpl) return tmpl.error();
  target.tmpl = *tmpl;
  target.device.facts = tools.devices.device;
  if (!tools.devices.replays) {
    target.device.gpu = tools.devices.gpus[static_cast<std::size_t>(tools.worker)];
    return target;
  }
  const RecordingInfo& info = *recording_of(tools.devices, request.shape, std::string((*tmpl)->name()));
  auto recording = read_recording(info.path.empty() ? info.name : info.path);
  if (!recording) return recording.error();
  target.device.facts = recording->info.device;
  target.device.recording = std::make_shared<const Recording>(*std::move(recording));
  return target;
}

CompileStats since(const CompileStats& before, const CompileStats& now) {
  return {now.compiled - before.compiled, now.from_store - before.from_store,
          now.compile_seconds - before.compile_seconds};
}

Status open_questions(const JobRequest& request, const JobTools& tools, const Target& target,
                      TuneOptions& options) {
  for (const StrategyInfo& info : strategies()) {
    if (info.name != options.strategy || !info.asks_a_model) continue;
    if (!tools.open_chat)
      return fail("the strategy {} asks a language model, which this server doesn't", info.name);
    auto session = tools.open_chat(request, target, options);
    if (!session) return session.error();
    options.llm = *std::move(session);
  }
  return {};
}

// What a client should know who asked for a language model and got less.
std::string without_model(const ChatSession& session) {
  if (!session.end_reason().empty())
    return "LLM: " + session.end_reason() + "; the search went on without it";
  if (session.totals().questions > 0 && session.totals().answered == 0)
    return "LLM: no answer came while the search ran; it went on without one";
  return "";
}

JobEnd run_tune(const JobRequest& request, const JobTools& tools, const std::atomic<bool>& stop,
                const TrialListener& on_trial) {
  const auto begin = Clock::now();
  const auto target = target_of(request, tools);
  if (!target) return failed(target.error());
  const auto space = search_space(*target, request.restrict);
  if (!space) return failed(space.error());
  auto seeds = read_seeds(request, *target->tmpl, target->device.facts);
  if (!seeds) return failed(seeds.error());
  TellingStore store(tools, on_trial);
  TuneOptions options;
  options.strategy = request.strategy;
  options.max_trials = request.max_trials;
  options.max_seconds = request.max_seconds;
  options.seed = request.seed;
  options.remeasure = request.remeasure;
  options.start = start_configs(*std::move(seeds), store, tools.packs, *target, *space, options.policy);
  if (const auto opened = open_questions(request, tools, *target, options); !opened)
    return failed(opened.error());
  auto device = open_device(*target, options.policy, tools.compiler);
  if (!device) return failed(device.error());
  MeteredDevice metered(**device, tools.metrics);
  const CompileStats before = tools.compiler.stats();
  const std::chrono::duration<double> setup = Clock::now() - begin;
  std::optional<Error> lost;
  auto tuned = tune(target->shape, *target->tmpl, *space, metered, tools.compiler, store, options, stop,
                    [&](const TuneProgress& progress) {
                      if (!progress.last || lost) return;
                      if (auto status = store.tell(*progress.last, false); !status) lost = status.error();
                    });
  if (options.llm) {
    const CallBudget& budget = options.llm->budget();
    tools.totals.count_llm(budget.calls(), budget.used().total(), budget.dollars());
  }
  if (!tuned) return failed(tuned.error());
  if (lost) return failed(*lost);
  tuned->compile = since(before, tuned->compile);
  JobEnd end{
      .state = JobState::done, .message = tuned->note, .result = {}, .interrupted = tuned->interrupted};
  if (const std::string said = options.llm ? without_model(*options.llm) : ""; !said.empty())
    end.message += (end.message.empty() ? "" : "; ") + said;
  end.result = to_json(TuneReport{*target, options, *tuned, "", tools.compiler.threads(), setup.count()});
  end.result.erase("database");
  if (!tuned->best && !tuned->interrupted) {
    end.state = JobState::failed;
    end.message = "no config passed; the trials' outcomes say why";
  }
  return end;
}

nlohmann::json swept_json(const SweepArms& made, const SweepResult& result) {
  nlohmann::json shapes = nlohmann::json::array();
  for (std::size_t number = 0; number < result.shapes.size(); ++number) {
    const auto arm = std::find_if(made.arms.begin(), made.arms.end(),
                                  [&](const SweepArm& each) { return each.shape_number == number; });
    const SweptShape& swept = result.shapes[number];
    nlohmann::json row = {
        {"shape", to_json(arm->shape)}, {"trials", swept.trials}, {"best", nullptr}, {"default", nullptr}};
    if (swept.best) row["best"] = to_json(*swept.best);
    if (swept.default_trial) row["default"] = to_json(*swept.default_trial);
    if (swept.best && swept.default_trial)
      row["speedup_over_default"] = swept.default_trial->timing->median_us / swept.best->timing->median_us;
    shapes.push_back(std::move(row));
  }
  return {{"shapes", shapes},
          {"trials", result.totals.trials},
          {"stored", result.totals.stored},
          {"helpings", result.helpings},
          {"seconds", result.totals.elapsed_seconds},
          {"out_of_time", result.out_of_time},
          {"left_out", made.left_out},
          {"failures", result.failures}};
}

JobEnd run_sweep(const JobRequest& request, const JobTools& tools, const std::atomic<bool>& stop,
                 const TrialListener& on_trial) {
  const auto workload = parse_workload(request.workload);
  if (!workload) return failed(workload.error());
  SweepOptions options;
  options.strategy = request.strategy;
  options.seed = request.seed;
  options.max_seconds = request.max_seconds;
  options.remeasure = request.remeasure;
  options.schedule = portions(request.max_trials);
  SweepTarget target = tools.devices;  // of this worker's GPU alone
  if (!target.replays) target.gpus = {tools.devices.gpus[static_cast<std::size_t>(tools.worker)]};
  SweepArms made = sweep_arms(*workload, target, request.templates, options.policy, tools.compiler);
  if (made.arms.empty())
    return failed(fail("no shape can be swept here; the first: {}", made.left_out.front()));
  for (SweepArm& arm : made.arms) {
    arm.open = [open = arm.open, &metrics = tools.metrics](int worker) -> Result<std::unique_ptr<Device>> {
      auto device = open(worker);
      if (!device) return device;
      return std::unique_ptr<Device>(std::make_unique<MeteredDevice>(*std::move(device), metrics));
    };
  }
  TellingStore store(tools, on_trial);
  const auto swept = sweep(made.arms, tools.compiler, store, tools.packs, options, stop, {});
  if (!swept) return failed(swept.error());
  JobEnd end{.state = JobState::done,
             .message = "",
             .result = swept_json(made, *swept),
             .interrupted = swept->interrupted};
  if (!swept->failures.empty()) {
    end.state = JobState::failed;
    end.message =
        fmt::format("gave up on {} searches; the first: {}", swept->failures.size(), swept->failures.front());
  }
  return end;
}

}  // namespace

Status check_job(const JobRequest& request, const SweepTarget& devices, bool asks_models) {
  for (const StrategyInfo& info : strategies()) {
    if (info.name != request.strategy || !info.asks_a_model) continue;
    if (request.kind == JobKind::sweep)
      return fail("'strategy': {} is for a tune, not for a sweep", info.name);
    if (!asks_models)
      return fail("'strategy': {} asks a language model, which this server doesn't", info.name);
  }
  if (request.kind == JobKind::sweep) return check_sweep(request, devices);
  const auto tmpl = template_for(request, devices);
  if (!tmpl) return tmpl.error();
  if (const auto seeds = read_seeds(request, **tmpl, devices.device); !seeds) return seeds.error();
  if (request.restrict.empty()) return {};
  const auto space = Space((*tmpl)->space(request.shape, devices.device)).restricted(request.restrict);
  if (!space) return fail("'restrict': {}", space.error().message);
  return {};
}

JobEnd run_job(const JobRequest& request, const JobTools& tools, const std::atomic<bool>& stop,
               const TrialListener& on_trial) {
  return request.kind == JobKind::tune ? run_tune(request, tools, stop, on_trial)
                                       : run_sweep(request, tools, stop, on_trial);
}

}  // namespace attune::serve
