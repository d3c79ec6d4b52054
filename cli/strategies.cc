// attune strategies: what strategies there are, and the spaces to try them on without a GPU.
#include "cli/strategies.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "autotuner/foreign_space.h"
#include "autotuner/recording.h"
#include "autotuner/strategy.h"
#include "base/read_file.h"
#include "cli/text.h"
#include "cli/write_file.h"
#include "templates/attention_template.h"

namespace attune::cli {
namespace {

constexpr const char* kStrategiesExamples = R"(Examples:
  attune strategies list
  attune strategies score --strategies random,pattern --seeds 5 --plot score.svg
  attune strategies spaces
  attune strategies export --recording h100-causal-2048-d96 --file d96.json
  attune strategies score --recordings d96.json --strategies random,anneal --seeds 5)";

constexpr std::array kStrategiesSubcommands{
    Command{"list", "Every strategy and how it searches", configure_strategies_list},
    Command{"score", "Replay strategies on recorded spaces: how good is each, on average",
            configure_strategies_score},
    Command{"spaces", "The recorded spaces: how large, how fast, how few are near the best",
            configure_strategies_spaces},
    Command{"export", "Write a recorded space as a Kernel Tuner cache or as T4 results",
            configure_strategies_export},
};

constexpr std::string_view kForeignSuffix = ".json";

Result<NamedReplay> read_foreign(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return text.error();
  auto replay = parse_foreign_space(*text, std::filesystem::path(path).stem().string());
  if (!replay) return fail("{}: {}", path, replay.error().message);
  return NamedReplay{*std::move(replay), "", ""};
}

Result<NamedReplay> read_recorded(const std::string& name) {
  const auto recording = read_recording(name);
  if (!recording) return recording.error();
  const RecordingInfo& info = recording->info;
  const auto tmpl = find_template(info.template_name);
  if (!tmpl) return fail("recording {}: {}", info.name, tmpl.error().message);
  auto replay = ReplaySpace::make(Space((*tmpl)->space(info.shape, info.device)), *recording,
                                  (*tmpl)->default_config(info.shape, info.device));
  if (!replay) return replay.error();
  return NamedReplay{*std::move(replay), info.template_name, info.recorded_at};
}

std::string percent(std::size_t n, std::size_t of) {
  return fmt::format("{} ({:.1f}%)", n, 100 * static_cast<double>(n) / static_cast<double>(of));
}

struct SpacesFlags {
  std::vector<std::string> recordings;
  bool json = false;
};

int run_spaces(const SpacesFlags& flags) {
  const auto replays = read_replays(flags.recordings);
  if (!replays) return failed(replays.error());
  nlohmann::json list = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows{
      {"space", "device", "axes", "configs", "failed", "fastest", "median", "within 1%", "within 3%"}};
  for (const NamedReplay& named : *replays) {
    const ReplaySpace& replay = named.replay;
    const std::vector<double>& times = replay.sorted_us();
    const auto within = [&](double share) {
      return static_cast<std::size_t>(
          std::upper_bound(times.begin(), times.end(), times.front() * (1 + share)) - times.begin());
    };
    list.push_back({{"space", replay.name()},
                    {"device", replay.device()},
                    {"axes", replay.space().axes().size()},
                    {"configs", times.size()},
                    {"failed", replay.failed()},
                    {"fastest_us", times.front()},
                    {"median_us", times[times.size() / 2]},
                    {"within_1_percent", within(0.01)},
                    {"within_3_percent", within(0.03)}});
    rows.push_back({replay.name(), replay.device(), std::to_string(replay.space().axes().size()),
                    grouped(times.size()), std::to_string(replay.failed()), milliseconds(times.front()),
                    milliseconds(times[times.size() / 2]), percent(within(0.01), times.size()),
                    percent(within(0.03), times.size())});
  }
  fmt::print("{}", flags.json ? list.dump(2) + "\n" : table(rows));
  return kOk;
}

struct ForeignFlags {
  std::string recording;
  std::string format = "kernel-tuner";
  std::string file;
};

int run_export(const ForeignFlags& flags) {
  const auto replays = read_replays({flags.recording});
  if (!replays) return failed(replays.error());
  const NamedReplay& named = replays->front();
  const auto format = flags.format == "t4" ? ForeignFormat::t4 : ForeignFormat::kernel_tuner;
  const std::string text = to_foreign(named.replay, format, named.kernel, named.recorded_at);
  if (flags.file == "-") {
    fmt::print("{}", text);
    return kOk;
  }
  if (const auto written = write_file(flags.file, text); !written) return failed(written.error());
  fmt::print("{} to {}\n",
             count_of(static_cast<std::int64_t>(named.replay.sorted_us().size()), "config", "configs"),
             flags.file);
  return kOk;
}

}  // namespace

void add_recordings_flag(CLI::App& app, std::vector<std::string>& names) {
  app.add_option(
         "--recordings", names,
         "Recordings by name (attune doctor lists them) or path, and Kernel Tuner's caches or T4 results "
         "(*.json); default: all recordings that come with attune")
      ->delimiter(',')
      ->type_name("NAME,...");
}

Result<std::vector<NamedReplay>> read_replays(const std::vector<std::string>& names) {
  std::vector<std::string> wanted = names;
  if (wanted.empty()) {
    const auto all = recordings();
    if (!all) return all.error();
    for (const RecordingInfo& info : *all) {
      if (info.path.empty()) wanted.push_back(info.name);
    }
  }
  std::vector<NamedReplay> replays;
  for (const std::string& name : wanted) {
    auto replay = name.ends_with(kForeignSuffix) ? read_foreign(name) : read_recorded(name);
    if (!replay) return fail("--recordings: {}", replay.error().message);
    replays.push_back(*std::move(replay));
  }
  return replays;
}

Action configure_strategies_list(CLI::App& app) {
  auto json = std::make_shared<bool>(false);
  app.add_flag("--json", *json, "One JSON array on stdout");
  return [json] {
    nlohmann::json list = nlohmann::json::array();
    std::vector<std::vector<std::string>> rows{{"strategy", "how it searches"}};
    for (const StrategyInfo& info : strategies()) {
      const bool is_default = info.name == kDefaultStrategy;
      list.push_back({{"strategy", info.name}, {"help", info.help}, {"default", is_default}});
      rows.push_back({info.name + (is_default ? " (default)" : ""), info.help});
    }
    fmt::print("{}", *json ? list.dump(2) + "\n" : table(rows));
    return static_cast<int>(kOk);
  };
}

Action configure_strategies_spaces(CLI::App& app) {
  auto flags = std::make_shared<SpacesFlags>();
  add_recordings_flag(app, flags->recordings);
  app.add_flag("--json", flags->json, "One JSON array on stdout");
  return [flags] { return run_spaces(*flags); };
}

Action configure_strategies_export(CLI::App& app) {
  auto flags = std::make_shared<ForeignFlags>();
  app.add_option("--recording", flags->recording, "A recording's name or path, or a file of another tuner's")
      ->required()
      ->type_name("NAME");
  app.add_option("--format", flags->format, "kernel-tuner (a cache file) or t4 (results)")
      ->capture_default_str()
      ->check(CLI::IsMember({"kernel-tuner", "t4"}))
      ->type_name("F");
  app.add_option("--file", flags->file, "Where to; - is stdout")->required()->type_name("FILE");
  return [flags] { return run_export(*flags); };
}

Action configure_strategies(CLI::App& app) {
  app.require_subcommand(1);
  app.footer(kStrategiesExamples);
  return with_subcommands(app, kStrategiesSubcommands);
}

}  // namespace attune::cli
