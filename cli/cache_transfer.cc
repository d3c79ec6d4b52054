// attune cache export and import: trials as JSON lines. The first line says how many follow, so that a file
// cut short is known for one; nothing is imported before the whole file was read and understood.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "autotuner/recording.h"
#include "cache/trial_json.h"
#include "cli/cache.h"
#include "cli/database_flag.h"
#include "cli/shape_options.h"
#include "cli/text.h"
#include "cli/write_file.h"

namespace attune::cli {
namespace {

constexpr const char* kFormat = "attune-trials";
constexpr int kVersion = 1;

struct ExportFlags {
  ShapeFlags shape;
  std::string gpu_name;
  std::string template_name;
  std::string database;
  std::string file;
  std::string recording;
  RecordingOrigin origin;
};

Result<std::string> to_lines(const TrialStore& store, const TrialFilter& filter) {
  std::string lines;
  std::int64_t trials = 0;
  const auto status = store.visit(filter, [&](const Trial& trial) -> Status {
    lines += to_json_line(trial) + "\n";
    ++trials;
    return {};
  });
  if (!status) return status.error();
  const nlohmann::json head = {{"format", kFormat}, {"version", kVersion}, {"trials", trials}};
  return head.dump() + "\n" + lines;
}

int export_lines(const ExportFlags& flags, const TrialStore& store, const TrialFilter& filter) {
  const auto lines = to_lines(store, filter);
  if (!lines) return failed(lines.error());
  if (flags.file == "-") {
    fmt::print("{}", *lines);
    return kOk;
  }
  if (const auto written = write_file(flags.file, *lines); !written) return failed(written.error());
  const auto trials = std::count(lines->begin(), lines->end(), '\n') - 1;
  fmt::print("{} to {}\n", count_of(trials, "trial", "trials"), flags.file);
  return kOk;
}

// The trials of one shape on one GPU, as the file that a recorded device replays.
int export_recording(const ExportFlags& flags, const TrialStore& store, TrialFilter filter) {
  if (!filter.shape) return usage_error(fail("--recording holds one shape: name it with --shape"));
  filter.replayed = false;
  auto trials = store.trials(filter);
  if (!trials) return failed(trials.error());
  if (trials->empty()) return failed(fail("no measured trials of {} are stored", to_string(*filter.shape)));
  const std::size_t count = trials->size();
  const auto bytes = to_recording(flags.origin, std::move(*trials));
  if (!bytes) return failed(bytes.error());
  if (const auto written = write_file(flags.recording, *bytes); !written) return failed(written.error());
  fmt::print("{} to the recording {} ({})\n", count_of(static_cast<std::int64_t>(count), "trial", "trials"),
             flags.recording, byte_size(static_cast<std::int64_t>(bytes->size())));
  return kOk;
}

int run_export(const ExportFlags& flags) {
  if (flags.file.empty() == flags.recording.empty()) {
    return usage_error(fail("`cache export` needs --file or --recording, and not both"));
  }
  TrialFilter filter;
  filter.gpu_name = flags.gpu_name;
  filter.template_name = flags.template_name;
  if (!flags.shape.shape.empty()) {
    const auto shape = parse_shape(flags.shape);
    if (!shape) return usage_error(shape.error());
    filter.shape = *shape;
  }
  const auto store = open_existing(database_path(flags.database));
  if (!store) return failed(store.error());
  return flags.recording.empty() ? export_lines(flags, **store, filter)
                                 : export_recording(flags, **store, filter);
}

Result<std::size_t> read_head(std::istream& input, const std::string& file) {
  std::string line;
  std::getline(input, line);
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object() || json.value("format", "") != kFormat || !json.contains("trials") ||
      !json["trials"].is_number_unsigned()) {
    return fail("{} is not an export of attune's trials (`attune cache export` writes them)", file);
  }
  if (json.value("version", 0) != kVersion) {
    return fail(
        "{} has version {} of the format, this attune reads {}: use the attune that wrote it, or a newer one",
        file, json["version"].dump(), kVersion);
  }
  return json["trials"].get<std::size_t>();
}

Result<std::vector<Trial>> read_lines(std::istream& input, const std::string& file) {
  const auto expected = read_head(input, file);
  if (!expected) return expected.error();
  std::vector<Trial> trials;
  for (std::string line; std::getline(input, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    const std::size_t number = trials.size() + 2;
    if (json.is_discarded())
      return fail("{}, line {}: not JSON, was the file cut short? Nothing is imported", file, number);
    auto trial = trial_from_json(json);
    if (!trial) return fail("{}, line {}: {}; nothing is imported", file, number, trial.error().message);
    trials.push_back(std::move(*trial));
  }
  if (trials.size() != *expected) {
    return fail("{} holds {} of its {} trials: it was cut short, copy it again; nothing is imported", file,
                trials.size(), *expected);
  }
  return trials;
}

int run_import(const std::string& database, const std::string& file) {
  std::ifstream input(file, std::ios::binary);
  if (!input) return failed(fail("cannot read {}", file));
  auto trials = read_lines(input, file);
  if (!trials) return failed(trials.error());
  const auto store = open_sqlite_store(database_path(database));
  if (!store) return failed(store.error());
  std::size_t at = 0;
  const auto added = (*store)->add_new([&]() -> Result<std::optional<Trial>> {
    if (at == trials->size()) return std::optional<Trial>();
    return std::optional<Trial>(std::move((*trials)[at++]));
  });
  if (!added) return failed(added.error());
  fmt::print("{} added, {} known already\n", count_of(*added, "trial", "trials"),
             grouped(trials->size() - static_cast<std::size_t>(*added)));
  return kOk;
}

}  // namespace

Action configure_cache_export(CLI::App& app) {
  auto flags = std::make_shared<ExportFlags>();
  app.add_option("--file", flags->file, "Where JSON lines go, - for stdout")->type_name("FILE");
  app.add_option("--recording", flags->recording, "Where a recording of --shape goes, NAME.jsonl.gz")
      ->type_name("FILE");
  app.add_option("--command", flags->origin.command, "Of a recording: the command that measured it");
  app.add_option("--commit", flags->origin.commit, "Of a recording: the commit of attune that measured it");
  add_shape_flags(app, flags->shape, false);
  app.add_option("--gpu-name", flags->gpu_name, "Only trials of this device")->type_name("NAME");
  app.add_option("--template", flags->template_name, "Only trials of this template")->type_name("NAME");
  add_database_flag(app, flags->database);
  return [flags] { return run_export(*flags); };
}

Action configure_cache_import(CLI::App& app) {
  auto database = std::make_shared<std::string>();
  auto file = std::make_shared<std::string>();
  app.add_option("--file", *file, "What `attune cache export` wrote")->type_name("FILE")->required();
  add_database_flag(app, *database);
  return [database, file] { return run_import(*database, *file); };
}

}  // namespace attune::cli
