// attune cache export and import: trials as JSON lines (docs/trial-store.md). Nothing is imported, and no
// database made, before the whole file was read and understood.
#include <fstream>
#include <sstream>

#include "autotuner/recording.h"
#include "cache/transfer.h"
#include "cli/cache.h"
#include "cli/database_flag.h"
#include "cli/shape_options.h"
#include "cli/text.h"
#include "cli/write_file.h"

namespace attune::cli {
namespace {

struct ExportFlags {
  ShapeFlags shape;
  std::string gpu_name;
  std::string template_name;
  std::string database;
  std::string file;
  std::string recording;
  RecordingOrigin origin;
};

int export_lines(const ExportFlags& flags, const TrialStore& store, const TrialFilter& filter) {
  std::ostringstream lines;
  const auto trials = export_trials(store, filter, lines, flags.file);
  if (!trials) return failed(trials.error());
  if (flags.file == "-") {
    fmt::print("{}", lines.str());
    return kOk;
  }
  if (const auto written = write_file(flags.file, lines.str()); !written) return failed(written.error());
  fmt::print("{} to {}\n", count_of(*trials, "trial", "trials"), flags.file);
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
  const auto store = open_existing(database_location(flags.database));
  if (!store) return failed(store.error());
  return flags.recording.empty() ? export_lines(flags, **store, filter)
                                 : export_recording(flags, **store, filter);
}

int run_import(const std::string& database, const std::string& file) {
  std::ifstream input(file, std::ios::binary);
  if (!input) return failed(fail("cannot read {}", file));
  if (const auto whole = check_export(input, file); !whole) return failed(whole.error());
  input.clear();
  input.seekg(0);
  const auto store = open_store(database_location(database));
  if (!store) return failed(store.error());
  const auto summary = import_trials(**store, input, file);
  if (!summary) return failed(summary.error());
  fmt::print("{} added, {} known already\n", count_of(summary->added, "trial", "trials"),
             grouped(static_cast<std::uint64_t>(summary->read - summary->added)));
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
