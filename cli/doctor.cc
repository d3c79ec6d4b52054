// attune doctor: what of attune works on this machine, what doesn't, and what to do about it.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "autotuner/device_choice.h"
#include "autotuner/recording.h"
#include "cache/location.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "cache/trusted_keys.h"
#include "cli/command.h"
#include "cli/database_flag.h"
#include "cli/endpoint_probe.h"
#include "cli/text.h"
#include "compiler/cubin_store.h"
#include "compiler/driver.h"
#include "compiler/nvrtc.h"

namespace attune::cli {
namespace {

constexpr const char* kDoctorExamples = R"(Examples:
  attune doctor
  attune doctor --json

Exit code 0 when tuning is possible in some form: on a GPU, or by replaying a recording.)";

enum class State { works, absent, broken };  // absent: not there, and attune can do without

struct Check {
  std::string name;
  State state = State::works;
  std::string detail;
  std::string advice = {};  // what to do, unless it works
};

std::string_view to_string(State state) {
  switch (state) {
    case State::works:
      return "ok";
    case State::absent:
      return "--";
    case State::broken:
      return "BAD";
  }
  return "?";
}

Check check_driver() {
  const auto driver = Driver::open();
  if (!driver) {
    return {"driver", State::absent, driver.error().message,
            "on a machine with an NVIDIA GPU install its driver; without one, recordings are replayed"};
  }
  const int version = (*driver)->version();
  const std::string& kernel = (*driver)->kernel_driver();
  return {"driver", State::works,
          fmt::format("CUDA {}.{}{} ({})", version / 1000, version % 1000 / 10,
                      kernel.empty() ? "" : ", kernel driver " + kernel, (*driver)->path())};
}

Check check_gpus() {
  const auto found = gpus();
  if (found.empty()) {
    return {"GPU", State::absent, "none to be used",
            "tune with --device recorded:NAME, or on a machine with an NVIDIA GPU (Ampere or newer)"};
  }
  std::string detail;
  for (std::size_t i = 0; i < found.size(); ++i) {
    detail += fmt::format("{}gpu:{} {} ({}, {} SMs)", i == 0 ? "" : "; ", i, found[i].name, found[i].arch,
                          found[i].sm_count);
  }
  return {"GPU", State::works, detail};
}

// Opening the library proves little: its second library is opened by the first compile.
Check check_nvrtc() {
  const auto nvrtc = Nvrtc::open();
  if (!nvrtc) return {"NVRTC", State::broken, nvrtc.error().message, "install the CUDA toolkit 13's NVRTC"};
  const KernelSource probe{
      "probe.cu", "extern \"C\" __global__ void probe(float* x) { *x = 1.0F; }", {}, {}, "probe"};
  const auto kernel = (*nvrtc)->compile(probe, "sm_90a", std::chrono::seconds(30));
  std::string detail = fmt::format("{} ({})", (*nvrtc)->version(), (*nvrtc)->path());
  if (kernel.outcome == CompileOutcome::ok) return {"NVRTC", State::works, detail};
  return {"NVRTC", State::broken,
          detail + " does not compile: " + kernel.log.substr(0, kernel.log.find('\n')),
          "its libnvrtc-builtins must lie beside it; reinstall NVRTC"};
}

Check check_database(const std::string& location) {
  if (!store_exists(location)) {
    return {"database", State::works, location + " will be made by the first tune"};
  }
  const auto store = open_store(location);
  if (!store)
    return {"database", State::broken, store.error().message, "or choose another with --db or ATTUNE_DB"};
  const auto trials = (*store)->count({});
  if (!trials)
    return {"database", State::broken, trials.error().message, "or choose another with --db or ATTUNE_DB"};
  return {"database", State::works,
          fmt::format("{}: {}", shown(location), count_of(*trials, "trial", "trials"))};
}

Check check_cubins() {
  const auto store = CubinStore::open(CubinStore::default_folder());
  if (!store)
    return {"cubins", State::broken, store.error().message, "set ATTUNE_CACHE_DIR to a folder of yours"};
  const auto summary = store->summary();
  return {"cubins", State::works,
          fmt::format("{}: {}, {}", store->folder().string(), count_of(summary.entries, "entry", "entries"),
                      byte_size(summary.bytes))};
}

Check check_packs() {
  const auto found = packs();
  if (!found)
    return {"packs", State::broken, found.error().message,
            "nothing is looked up until ATTUNE_PACKS is mended"};
  const auto trusted = TrustedKeys::configured();
  if (!trusted)
    return {"packs", State::broken, trusted.error().message, "packs of files are refused until it is mended"};
  std::string detail;
  for (const auto& pack : *found) detail += (detail.empty() ? "" : ", ") + pack->info.name;
  if (*trusted)
    detail += fmt::format("; files only if signed by a key of {} ({})", (*trusted)->where(),
                          count_of(static_cast<std::int64_t>((*trusted)->size()), "key", "keys"));
  if (found->empty()) return {"packs", State::absent, "none", "only what is tuned here is served"};
  return {"packs", State::works, detail};
}

Check check_recordings() {
  const auto all = recordings();
  if (!all)
    return {"recordings", State::broken, all.error().message, "reinstall attune, or unset ATTUNE_RECORDINGS"};
  if (all->empty()) return {"recordings", State::absent, "none", "without a GPU there is nothing to tune on"};
  std::string names;
  for (const RecordingInfo& info : *all) names += (names.empty() ? "" : ", ") + info.name;
  return {"recordings", State::works, names};
}

Check check_endpoint() {
  const char* url = std::getenv("ATTUNE_LLM_URL");
  if (url == nullptr || *url == '\0') {
    return {"LLM", State::absent, "ATTUNE_LLM_URL is not set", "needed only for LLM-guided search"};
  }
  const char* key = std::getenv("ATTUNE_LLM_API_KEY");
  const char* ca_file = std::getenv("ATTUNE_LLM_CA_FILE");
  const auto answer = probe_endpoint(url, key == nullptr ? "" : key, ca_file == nullptr ? "" : ca_file);
  if (answer) return {"LLM", State::works, *answer};
  return {"LLM", State::broken, answer.error().message, "check ATTUNE_LLM_URL and ATTUNE_LLM_API_KEY"};
}

struct Verdict {
  bool can_tune = false;
  std::string text;
};

Verdict verdict(const std::vector<Check>& checks) {
  const auto is = [&](State state, std::string_view name) {
    return std::any_of(checks.begin(), checks.end(),
                       [&](const Check& check) { return check.name == name && check.state == state; });
  };
  const auto works = [&](std::string_view name) { return is(State::works, name); };
  if (!works("NVRTC") || !works("database") || !works("cubins") || is(State::broken, "packs")) {
    return {false, "tuning is not possible until what is marked BAD is mended"};
  }
  if (works("GPU")) return {true, "tuning works, on the GPU"};
  if (works("recordings")) return {true, "tuning works, by replaying recordings: there is no GPU here"};
  return {false, "tuning is not possible: there is neither a GPU nor a recording"};
}

nlohmann::json to_json(const std::vector<Check>& checks, const Verdict& verdict) {
  nlohmann::json json = {
      {"can_tune", verdict.can_tune}, {"verdict", verdict.text}, {"checks", nlohmann::json::array()}};
  for (const Check& check : checks) {
    const char* state = check.state == State::works    ? "works"
                        : check.state == State::absent ? "absent"
                                                       : "broken";
    json["checks"].push_back(
        {{"name", check.name}, {"state", state}, {"detail", check.detail}, {"advice", check.advice}});
  }
  return json;
}

int run_doctor(const std::string& database, bool as_json) {
  const std::vector<Check> checks{check_driver(), check_gpus(),  check_nvrtc(),      check_database(database),
                                  check_cubins(), check_packs(), check_recordings(), check_endpoint()};
  const Verdict result = verdict(checks);
  if (as_json) {
    fmt::print("{}\n", to_json(checks, result).dump(2));
    return result.can_tune ? kOk : kFailed;
  }
  for (const Check& check : checks) {
    fmt::print("{:<3} {:<11} {}\n", to_string(check.state), check.name, check.detail);
    if (!check.advice.empty()) fmt::print("{:<15} -> {}\n", "", check.advice);
  }
  fmt::print("\n{}\n", result.text);
  return result.can_tune ? kOk : kFailed;
}

}  // namespace

Action configure_doctor(CLI::App& app) {
  auto database = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  add_database_flag(app, *database);
  app.add_flag("--json", *json, "One JSON document on stdout");
  app.footer(kDoctorExamples);
  return [database, json] { return run_doctor(database_location(*database), *json); };
}

}  // namespace attune::cli
