// attune lookup: what is known for a shape, and how.
#include <memory>
#include <nlohmann/json.hpp>

#include "autotuner/current_records.h"
#include "autotuner/lookup_answer.h"
#include "cache/location.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "cli/command.h"
#include "cli/database_flag.h"
#include "cli/remote.h"
#include "cli/target.h"
#include "cli/text.h"
#include "compiler/nvrtc.h"

namespace attune::cli {
namespace {

constexpr const char* kLookupExamples = R"(Examples:
  attune lookup --shape 4,32,4096,128
  attune lookup --shape 4,32,3000,128 --arch sm_90a --gpu-name "NVIDIA H100 80GB HBM3" --json

The database answers first, then the packs that come with attune (`attune pack --help`). The answer is exact (this shape was tuned on this device), near (another length was; its config is legal here), or
default (nothing fits: the template's own choice, with no time known).)";

struct LookupFlags {
  TargetFlags target;
  std::string database;
  Remote remote;
  bool json = false;
};

// A database that nobody has made yet knows nothing: that is no error.
Result<LookupAnswer> ask(const std::string& database, const Target& target) {
  const auto shipped = packs();
  if (!shipped) return shipped.error();
  std::unique_ptr<TrialStore> store;
  if (store_exists(database)) {
    auto opened = open_store(database, {.read_only = true});
    if (!opened) return opened.error();
    store = *std::move(opened);
  }
  const auto nvrtc = Nvrtc::open();
  const DeviceFacts& device = target.device.facts;
  auto answer = lookup(
      store.get(), *shipped, target.shape, device, MeasurementPolicy{}, nvrtc ? (*nvrtc)->version() : "",
      [&](const Trial& trial) { return serves(trial, target.shape, device); },
      [&](const Trial& trial) { return served_before(trial, target.shape, device); });
  if (answer && !answer->record && !store)
    answer->reason = fmt::format("there is no database {} yet", database);
  return answer;
}

void print_answer(const nlohmann::json& json) {
  const bool stale = json.value("stale", false);
  const auto pack = json.find("pack");
  const std::string from =
      pack != json.end() && pack->is_string() ? ", from the pack " + pack->get<std::string>() : "";
  const auto shape = shape_from_json(json["shape"]);
  std::vector<std::vector<std::string>> rows{
      {"shape", shape ? attune::to_string(*shape) : json["shape"].dump()},
      {"device", json["device"]["name"].get<std::string>()},
      {"provenance", json["provenance"].get<std::string>() + (stale ? ", stale" : "") + from},
      {"why", json["reason"].get<std::string>()},
      {"template", json["template"].get<std::string>()},
      {"config", json["config"].dump()}};
  if (json.contains("record")) {
    const auto& record = json["record"];
    const auto measured = shape_from_json(record["shape"]);
    rows.push_back(
        {"expected", fmt::format("{}, {} TFLOP/s{}", milliseconds(json["expected_us"].get<double>()),
                                 significant(json["tflops"].get<double>()),
                                 json["replayed"].get<bool>() ? " (REPLAYED from a recording)" : "")});
    rows.push_back({"measured", fmt::format("{} on {}, {}", record["created_at"].get<std::string>(),
                                            record["device"]["name"].get<std::string>(),
                                            measured ? attune::to_string(*measured) : "")});
  }
  for (const char* source : {"database", "server"}) {
    if (json.contains(source)) rows.push_back({source, json[source].get<std::string>()});
  }
  fmt::print("{}", table(rows));
}

// The server answers for the device of this machine, where there is one, else for its own.
Result<nlohmann::json> question(const LookupFlags& flags) {
  const auto shape = parse_shape(flags.target.shape);
  if (!shape) return shape.error();
  nlohmann::json asked = {{"shape", to_json(*shape)}};
  if (!flags.target.arch.empty()) {
    asked["arch"] = flags.target.arch;
  } else if (flags.target.device != "auto" || !gpus().empty()) {
    const auto request = parse_device(flags.target.device);
    if (!request) return request.error();
    const auto device = choose_facts(*request, *shape);
    if (!device) return device.error();
    asked["device"] = to_json(device->facts);
  }
  if (!flags.target.gpu_name.empty()) asked["gpu_name"] = flags.target.gpu_name;
  if (!flags.target.template_name.empty()) asked["template"] = flags.target.template_name;
  return asked;
}

int show(const LookupFlags& flags, const nlohmann::json& json) {
  if (flags.json) {
    fmt::print("{}\n", json.dump(2));
  } else {
    print_answer(json);
  }
  return kOk;
}

int run_lookup(LookupFlags& flags) {
  if (!flags.remote.url.empty()) {
    const auto asked = question(flags);
    if (!asked) return usage_error(asked.error());
    auto answer = ask_server(flags.remote, "/v1/lookup", *asked);
    if (auto* found = std::get_if<RemoteAnswer>(&answer)) {
      found->json["server"] = flags.remote.url;
      return show(flags, found->json);
    }
    const RemoteError& refusal = std::get<RemoteError>(answer);
    if (!refusal.unreachable) return failed(refusal.error);
    say_going_on_here(refusal.error);
  }
  Target target;
  if (const int code = resolve_target(flags.target, Purpose::ask, target); code != kOk) return code;
  const std::string database = database_location(flags.database);
  const auto answer = ask(database, target);
  if (!answer) return failed(answer.error());
  auto json = answer_json(target, *answer);
  json["database"] = shown(database);
  return show(flags, json);
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
  add_server_flag(app, flags->remote);
  app.add_flag("--json", flags->json, "One JSON document on stdout");
  app.footer(kLookupExamples);
  return [flags] { return run_lookup(*flags); };
}

}  // namespace attune::cli
