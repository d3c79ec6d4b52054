// attune cache export and import: trials as JSON lines. The first line says how many follow, so that a file
// cut short is known for one; nothing is imported before the whole file was read and understood.
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <set>

#include "cache/trial_json.h"
#include "cli/cache.h"
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
  std::string database;
  std::string file;
  bool recording = false;
};

std::string to_lines(const std::vector<Trial>& trials) {
  std::string text =
      nlohmann::json({{"format", kFormat}, {"version", kVersion}, {"trials", trials.size()}}).dump() + "\n";
  for (const Trial& trial : trials) text += to_json(trial).dump() + "\n";
  return text;
}

int run_export(const ExportFlags& flags) {
  TrialFilter filter;
  filter.gpu_name = flags.gpu_name;
  if (!flags.shape.shape.empty()) {
    const auto shape = parse_shape(flags.shape);
    if (!shape) return usage_error(shape.error());
    filter.shape = *shape;
  }
  const auto store = open_existing(database_path(flags.database));
  if (!store) return failed(store.error());
  const auto trials = (*store)->trials(filter);
  if (!trials) return failed(trials.error());
  if (flags.file == "-") {
    fmt::print("{}", to_lines(*trials));
    return kOk;
  }
  if (const auto written = write_file(flags.file, to_lines(*trials)); !written)
    return failed(written.error());
  fmt::print("{} to {}\n", count_of(static_cast<std::int64_t>(trials->size()), "trial", "trials"),
             flags.file);
  return kOk;
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

// What makes a trial the same one when it comes a second time.
std::string identity(const Trial& trial) {
  return fmt::format("{}|{}|{}|{}|{}", trial.session, trial.created_at, trial.config_hash,
                     to_json(trial.shape).dump(), to_string(trial.outcome));
}

int run_import(const std::string& database, const std::string& file) {
  std::ifstream input(file, std::ios::binary);
  if (!input) return failed(fail("cannot read {}", file));
  auto trials = read_lines(input, file);
  if (!trials) return failed(trials.error());
  const auto store = open_sqlite_store(database_path(database));
  if (!store) return failed(store.error());
  const auto present = (*store)->trials({});
  if (!present) return failed(present.error());
  std::set<std::string> known;
  for (const Trial& trial : *present) known.insert(identity(trial));

  std::int64_t added = 0;
  for (Trial& trial : *trials) {
    if (!known.insert(identity(trial)).second) continue;
    if (const auto status = (*store)->add(trial); !status) return failed(status.error());
    ++added;
  }
  fmt::print("{} added, {} known already\n", count_of(added, "trial", "trials"),
             grouped(trials->size() - static_cast<std::size_t>(added)));
  return kOk;
}

}  // namespace

Action configure_cache_export(CLI::App& app) {
  auto flags = std::make_shared<ExportFlags>();
  app.add_option("--file", flags->file, "Where to, - for stdout")->type_name("FILE")->required();
  add_shape_flags(app, flags->shape, false);
  app.add_option("--gpu-name", flags->gpu_name, "Only trials of this device")->type_name("NAME");
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
