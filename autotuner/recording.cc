#include "autotuner/recording.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "autotuner/gzip.h"
#include "base/json_text.h"
#include "base/printable.h"
#include "cache/trial_json.h"

namespace attune {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "attune-recording";

// Keys of a trial's JSON that are in the header, the same for all lines.
constexpr const char* kCommonKeys[] = {"shape",         "template", "template_hash", "device",
                                       "nvrtc_version", "policy",   "replayed"};

// Keys that a line leaves out, with what reading puts there ("config_hash" and "created_at" are worked out).
const Json& left_out() {
  static const Json values{{"cubin_key", ""}, {"strategy", "recorded"}, {"session", ""},
                           {"message", ""},   {"spill_bytes", 0},       {"registers", 0},
                           {"smem_bytes", 0}, {"cubin_hash", ""}};
  return values;
}

// The double nearest to the value's decimal text in the given format.
double through_text(fmt::format_string<double&> format, double value) {
  const std::string text = fmt::format(format, value);
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

double nanoseconds(double us) {
  return through_text("{:.3f}", us);
}

double four_digits(double value) {
  return std::isfinite(value) ? through_text("{:.4g}", value) : value;
}

Trial as_recorded(Trial trial) {
  if (trial.timing) {
    trial.timing->median_us = nanoseconds(trial.timing->median_us);
    trial.timing->min_us = nanoseconds(trial.timing->min_us);
    trial.timing->spread_us = nanoseconds(trial.timing->spread_us);
  }
  trial.compile_ms = std::round(trial.compile_ms);
  if (trial.relative_error) trial.relative_error = four_digits(*trial.relative_error);
  if (trial.max_abs_error) trial.max_abs_error = four_digits(*trial.max_abs_error);
  return trial;
}

Json common_part(const Json& trial) {
  Json common = Json::object();
  for (const char* key : kCommonKeys) common[key] = trial.at(key);
  return common;
}

Json line_of(const Trial& trial) {
  Json line = to_json(as_recorded(trial));
  for (const char* key : kCommonKeys) line.erase(key);
  for (const char* key : {"id", "config_hash", "created_at", "cubin_key", "strategy", "session"})
    line.erase(key);
  for (const auto& [key, value] : left_out().items()) {
    if (line.contains(key) && line[key] == value) line.erase(key);
  }
  return line;
}

Status same_origin(const Json& first, const Json& other) {
  for (const char* key : kCommonKeys) {
    if (first.at(key) == other.at(key)) continue;
    return fail("a recording is of one {}, these trials have two: {} and {}", key, first.at(key).dump(),
                other.at(key).dump());
  }
  return {};
}

Json header_of(const RecordingOrigin& origin, const Json& common, const std::string& recorded_at,
               std::size_t trials) {
  return {{"format", kFormat},         {"version", kRecordingVersion},
          {"command", origin.command}, {"commit", origin.commit},
          {"axes", origin.axes},       {"recorded_at", recorded_at},
          {"common", common},          {"trials", trials}};
}

// The header's fields, or what is wrong with it.
Result<RecordingInfo> info_of(const std::string& line, const std::string& name) {
  const Json json = parse_outside_json(line);
  if (!json.is_object() || !json.contains("format") || json["format"] != kFormat) {
    return fail("recording {} is not an attune recording (its first line has no \"format\":\"{}\")", name,
                kFormat);
  }
  const Json version = json.value("version", Json());
  if (version != kRecordingVersion) {
    return fail(
        "recording {} has version {} of the format, this attune reads {}: use the attune that wrote it, "
        "or record again",
        name, version.dump(), kRecordingVersion);
  }
  RecordingInfo info;
  info.name = name;
  try {
    json.at("command").get_to(info.origin.command);
    json.at("commit").get_to(info.origin.commit);
    json.at("axes").get_to(info.origin.axes);
    json.at("recorded_at").get_to(info.recorded_at);
    read_whole_number(json, "trials", info.trials);
    const Json& common = json.at("common");
    common.at("template").get_to(info.template_name);
    common.at("template_hash").get_to(info.template_hash);
    common.at("nvrtc_version").get_to(info.nvrtc_version);
    const auto shape = shape_from_json(common.at("shape"));
    const auto device = device_facts_from_json(common.at("device"));
    const auto policy = parse_policy(common.at("policy").get<std::string>());
    if (!shape) return fail("recording {}: {}", name, shape.error().message);
    if (!device) return fail("recording {}: {}", name, device.error().message);
    if (!policy) return fail("recording {}: {}", name, policy.error().message);
    info.shape = *shape;
    info.device = *device;
    info.policy = *policy;
  } catch (const Json::exception& error) {
    return fail("recording {} has a wrong header: {}", name, error.what());
  }
  return info;
}

Result<Trial> trial_of(const std::string& line, const Json& common, const std::string& recorded_at) {
  const Json json = parse_outside_json(line);
  if (!json.is_object() || !json.contains("config")) return fail("it is no trial");
  Json full = left_out();
  full.update(common);
  full.update(json);
  full["config_hash"] = config_hash(json["config"].dump(-1, ' ', false, Json::error_handler_t::replace));
  full["created_at"] = recorded_at;
  return trial_from_json(full);
}

}  // namespace

Result<std::string> to_recording(const RecordingOrigin& origin, std::vector<Trial> trials) {
  if (trials.empty()) return fail("there are no trials to make a recording of");
  std::map<std::string, const Trial*> newest;
  std::string recorded_at;
  const Json first = to_json(trials.front());
  for (const Trial& trial : trials) {
    if (Status status = check_trial(trial); !status) return status.error();
    if (trial.replayed)
      return fail("config {} is itself replayed, not measured: no recording of that", trial.config_hash);
    if (Status status = same_origin(first, to_json(trial)); !status) return status.error();
    const Trial*& slot = newest[trial.config_json];
    if (slot == nullptr || trial.created_at >= slot->created_at) slot = &trial;
    recorded_at = std::max(recorded_at, trial.created_at);
  }
  std::string text = header_of(origin, common_part(first), recorded_at, newest.size()).dump() + "\n";
  for (const auto& [config, trial] : newest) {
    text += line_of(*trial).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  }
  text += Json{{"end", newest.size()}}.dump() + "\n";
  return gzip(text);
}

Result<Recording> parse_recording(std::string_view bytes, const std::string& name) {
  const Result<std::string> text = gunzip(bytes);
  if (!text) return fail("recording {} {}: copy it again", name, text.error().message);
  std::istringstream lines(*text);
  std::string line;
  std::getline(lines, line);
  Result<RecordingInfo> info = info_of(line, name);
  if (!info) return info.error();
  const Json common = Json::parse(line).at("common");

  Recording recording{*std::move(info), {}};
  std::set<std::string> configs;
  bool ended = false;
  for (std::size_t number = 2; std::getline(lines, line); ++number) {
    if (ended) return fail("recording {} goes on after its end, in line {}", name, number);
    if (line.starts_with("{\"end\":")) {
      ended = parse_outside_json(line) == Json{{"end", recording.trials.size()}};
      if (!ended)
        return fail("recording {} has {} trials, its last line says {}", name, recording.trials.size(),
                    printable(line));
      continue;
    }
    Result<Trial> trial = trial_of(line, common, recording.info.recorded_at);
    if (!trial) return fail("recording {}, line {}: {}", name, number, trial.error().message);
    if (!configs.insert(trial->config_json).second) {
      return fail("recording {}, line {}: its config is there twice", name, number);
    }
    recording.trials.push_back(*std::move(trial));
  }
  if (!ended)
    return fail("recording {} is cut short after {} trials: copy it again", name, recording.trials.size());
  if (recording.trials.size() != recording.info.trials) {
    return fail("recording {} has {} trials, its header says {}", name, recording.trials.size(),
                recording.info.trials);
  }
  return recording;
}

Result<RecordingInfo> parse_recording_info(std::string_view bytes, const std::string& name) {
  const Result<std::string> line = gunzip_first_line(bytes);
  if (!line) return fail("recording {} {}: copy it again", name, line.error().message);
  return info_of(*line, name);
}

std::string staleness(const RecordingInfo& info, std::string_view template_hash) {
  if (info.template_hash == template_hash) return "";
  return fmt::format(
      "recording {} was made with an earlier {} template ({}, now {}): its times are not those of "
      "today's kernels",
      info.name, info.template_name, info.template_hash.substr(0, 12), template_hash.substr(0, 12));
}

Result<Space> recorded_space(const Space& space, const Recording& recording) {
  std::vector<Config> configs;
  std::map<std::string, std::set<std::string>> values;
  for (const Trial& trial : recording.trials) {
    const auto config = config_from_json(Json::parse(trial.config_json), space.definition());
    if (!config || !space.point(*config)) continue;
    for (const auto& [axis, value] : config->values()) values[axis].insert(to_string(value));
    configs.push_back(*config);
  }
  if (configs.empty()) {
    return fail("recording {} has none of the configs that the {} template allows now: record again",
                recording.info.name, recording.info.template_name);
  }
  std::map<std::string, std::vector<std::string>> allowed;
  for (const auto& [axis, texts] : values) allowed[axis] = {texts.begin(), texts.end()};
  const Result<Space> narrow = space.restricted(allowed);
  if (!narrow) return narrow.error();
  std::vector<Point> points;
  for (const Config& config : configs) {
    if (Result<Point> point = narrow->point(config)) points.push_back(*std::move(point));
  }
  return narrow->limited_to(std::move(points));
}

}  // namespace attune
