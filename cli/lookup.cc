// attune lookup: what is known for a shape, and how.
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "autotuner/current_records.h"
#include "autotuner/lookup_answer.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "cli/command.h"
#include "cli/database_flag.h"
#include "cli/target.h"
#include "cli/text.h"
#include "compiler/nvrtc.h"

namespace attune::cli {
namespace {

constexpr const char* kExamples = R"(Examples:
  attune lookup --shape 4,32,4096,128
  attune lookup --shape 4,32,3000,128 --arch sm_90a --gpu-name "NVIDIA H100 80GB HBM3" --json

The database answers first, then the packs that come with attune (`attune pack --help`). The answer is exact (this shape was tuned on this device), near (another length was; its config is legal here), or
default (nothing fits: the template's own choice, with no time known).)";

struct LookupFlags {
  TargetFlags target;
  std::string database;
  bool json = false;
};

// A database that nobody has made yet knows nothing: that is no error.
Result<LookupAnswer> ask(const std::filesystem::path& database, const Target& target) {
  const auto shipped = packs();
  if (!shipped) return shipped.error();
  std::error_code ignored;
  std::unique_ptr<TrialStore> store;
  if (std::filesystem::exists(database, ignored)) {
    auto opened = open_sqlite_store(database, {.read_only = true});
    if (!opened) return opened.error();
    store = *std::move(opened);
  }
  const auto nvrtc = Nvrtc::open();
  auto answer = lookup(store.get(), *shipped, target.shape, target.device.facts, MeasurementPolicy{},
                       nvrtc ? (*nvrtc)->version() : "", [&target](const Trial& trial) {
                         return serves(trial, target.shape, target.device.facts);
                       });
  if (answer && !answer->record && !store)
    answer->reason = fmt::format("there is no database {} yet", database.string());
  return answer;
}

void print_answer(const nlohmann::json& json, const Target& target, const LookupAnswer& answer) {
  std::vector<std::vector<std::string>> rows{
      {"shape", to_string(target.shape)},
      {"device", target.device.facts.name},
      {"provenance", json["provenance"].get<std::string>() + (answer.stale ? ", stale" : "") +
                         (answer.pack.empty() ? "" : ", from the pack " + answer.pack)},
      {"why", answer.reason},
      {"template", json["template"].get<std::string>()},
      {"config", json["config"].dump()}};
  if (answer.record) {
    const Trial& record = *answer.record;
    rows.push_back(
        {"expected", fmt::format("{}, {} TFLOP/s{}", milliseconds(json["expected_us"].get<double>()),
                                 significant(json["tflops"].get<double>()),
                                 record.replayed ? " (REPLAYED from a recording)" : "")});
    rows.push_back({"measured", fmt::format("{} on {}, {}", record.created_at, record.device.name,
                                            to_string(record.shape))});
  }
  rows.push_back({"database", json["database"].get<std::string>()});
  fmt::print("{}", table(rows));
}

int run_lookup(const LookupFlags& flags) {
  Target target;
  if (const int code = resolve_target(flags.target, Purpose::ask, target); code != kOk) return code;
  const std::filesystem::path database = database_path(flags.database);
  const auto answer = ask(database, target);
  if (!answer) return failed(answer.error());
  auto json = answer_json(target, *answer);
  json["database"] = database.string();
  if (flags.json) {
    fmt::print("{}\n", json.dump(2));
  } else {
    print_answer(json, target, *answer);
  }
  return kOk;
}

}  // namespace

Action configure_lookup(CLI::App& app) {
  auto flags = std::make_shared<LookupFlags>();
  add_shape_flags(app, flags->target.shape);
  add_device_flag(app, flags->target);
  add_arch_flag(app, flags->target);
  app.add_option("--gpu-name", flags->target.gpu_name,
                 "The GPU's name, as the driver gives it, to go with --arch")
      ->type_name("NAME");
  add_template_flags(app, flags->target);
  add_database_flag(app, flags->database);
  app.add_flag("--json", flags->json, "One JSON document on stdout");
  app.footer(kExamples);
  return [flags] { return run_lookup(*flags); };
}

}  // namespace attune::cli
