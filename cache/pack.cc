#include "cache/pack.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base/hash.h"
#include "base/json_text.h"
#include "base/read_file.h"
#include "cache/trial_json.h"

namespace attune {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kPackFormat = "attune-pack";

// What many records share stands in the header once, and in a record by its number.
constexpr const char* kShared[] = {"device", "template"};

// Keys that a record leaves out, with what reading puts there ("config_hash" is worked out).
const Json& left_out() {
  static const Json values{
      {"outcome", "ok"},           {"message", ""},  {"replayed", false}, {"spill_bytes", 0},
      {"policy", "cold-l2/eager"}, {"strategy", ""}, {"session", ""},     {"compile_ms", 0}};
  return values;
}

// The number of `value` in `list`, which it is added to if need be.
std::size_t number_in(Json& list, const Json& value) {
  const auto found = std::find(list.begin(), list.end(), value);
  if (found != list.end()) return static_cast<std::size_t>(found - list.begin());
  list.push_back(value);
  return list.size() - 1;
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// By what a record answers for: its order in the pack, and what must not be there twice.
std::string key_of(const Trial& record) {
  const Shape& s = record.shape;
  return fmt::format("{}/{}/{:05}/{}/{:05}/{:05}/{:09}/{:09}/{:05}/{}/{}/{}", record.device.arch,
                     record.device.name, s.head_dim, to_string(s.mask), s.q_heads, s.kv_heads, s.q_len,
                     s.kv_len, s.batch, dump(to_json(s)), to_string(record.policy), record.device.sm_count);
}

Json line_of(const Trial& record, Json& devices, Json& templates) {
  Json line = to_json(record);
  const Json device = line["device"];
  const Json tmpl{{"name", record.template_name}, {"hash", record.template_hash}};
  for (const char* key : {"id", "config_hash", "template_hash"}) line.erase(key);
  line["device"] = number_in(devices, device);
  line["template"] = number_in(templates, tmpl);
  for (const auto& [key, value] : left_out().items()) {
    if (line.contains(key) && line[key] == value) line.erase(key);
  }
  return line;
}

Result<Trial> record_of(const std::string& text, const Json& header) {
  const Json line = parse_outside_json(text);
  if (!line.is_object() || !line.contains("config")) return fail("it is no record");
  Json full = left_out();
  full.update(line);
  for (const char* key : kShared) {
    const Json& list = header.at(std::string(key) + "s");
    const Json number = line.value(key, Json());
    if (!number.is_number_unsigned() || number.get<std::size_t>() >= list.size()) {
      return fail("its {} is no number in the header's list", key);
    }
    full[key] = list[number.get<std::size_t>()];
  }
  const Json tmpl = full["template"];
  full["template"] = tmpl.value("name", Json());
  full["template_hash"] = tmpl.value("hash", Json());
  // As config_hash() of templates/ names a config: this module knows no configs.
  full["config_hash"] = sha256_hex(dump(line["config"])).substr(0, 16);
  auto record = trial_from_json(full);
  if (!record) return record;
  if (auto status = check_trial(*record); !status) return status.error();
  if (record->outcome != Outcome::ok) return fail("its outcome is {}, not ok", to_string(record->outcome));
  return record;
}

Result<PackInfo> info_of(const Json& header, const std::string& name) {
  if (!header.is_object() || header.value("format", Json()) != kPackFormat) {
    return fail("pack {} is not an attune pack (its first line has no \"format\":\"{}\")", name, kPackFormat);
  }
  const Json version = header.value("version", Json());
  if (version != kPackVersion) {
    return fail(
        "pack {} has version {} of the format, this attune reads {}: use the attune that made it, or make it "
        "again",
        name, version.dump(), kPackVersion);
  }
  PackInfo info;
  info.name = name;
  try {
    header.at("made_at").get_to(info.made_at);
    header.at("attune").get_to(info.attune);
    header.at("command").get_to(info.command);
    header.at("commit").get_to(info.commit);
    for (const char* key : {"devices", "templates"}) {
      if (!header.at(key).is_array()) return fail("pack {} has a wrong header: '{}' is no list", name, key);
    }
    if (!header.at("records").is_number_unsigned())
      return fail("pack {} has a wrong header: 'records' is no count", name);
  } catch (const Json::exception& error) {
    return fail("pack {} has a wrong header: {}", name, error.what());
  }
  return info;
}

}  // namespace

Result<std::string> to_pack(const PackInfo& info, std::vector<Trial> records, const SecretKey* key) {
  if (records.empty()) return fail("there are no records to make a pack of");
  std::map<std::string, const Trial*> ordered;
  for (const Trial& record : records) {
    if (record.outcome != Outcome::ok)
      return fail("a trial that is {} is no record", to_string(record.outcome));
    if (auto status = check_trial(record); !status) return status.error();
    if (!ordered.emplace(key_of(record), &record).second) {
      return fail("two records of {} on {}: a pack has one", to_string(record.shape), record.device.name);
    }
  }
  Json devices = Json::array(), templates = Json::array();
  std::string lines;
  for (const auto& [place, record] : ordered) lines += dump(line_of(*record, devices, templates)) + "\n";
  const Json header{{"format", kPackFormat}, {"version", kPackVersion}, {"made_at", info.made_at},
                    {"attune", info.attune}, {"command", info.command}, {"commit", info.commit},
                    {"devices", devices},    {"templates", templates},  {"records", ordered.size()}};
  const std::string text = dump(header) + "\n" + lines;
  const std::string sha256 = sha256_hex(text);
  std::vector<PackSignature> signatures;
  if (key != nullptr) signatures.push_back(sign_checksum(sha256, *key));
  return text + pack_end_line(ordered.size(), sha256, signatures) + "\n";
}

Result<std::string> signed_pack(const Pack& pack, const SecretKey& key) {
  const auto& done = pack.signatures;
  const bool has_signed = std::any_of(done.begin(), done.end(),
                                      [&](const PackSignature& one) { return one.key == key.public_key(); });
  if (has_signed) return pack.bytes;
  if (done.size() == kMostPackSignatures)
    return fail("pack {} has {} signatures, as many as there may be", pack.info.name, done.size());
  const std::string text = pack.bytes.substr(0, pack.bytes.rfind('\n', pack.bytes.size() - 2) + 1);
  const std::string sha256 = sha256_hex(text);
  auto signatures = done;
  signatures.push_back(sign_checksum(sha256, key));
  return text + pack_end_line(pack.records.size(), sha256, signatures) + "\n";
}

Result<Pack> parse_pack(std::string_view bytes, const std::string& name) {
  std::istringstream in{std::string(bytes)};
  std::string line;
  std::getline(in, line);
  const Json header = parse_outside_json(line);
  auto info = info_of(header, name);
  if (!info) return info.error();
  Pack pack{*std::move(info), {}};
  std::set<std::string> keys;
  std::size_t read = line.size() + 1;
  for (std::size_t number = 2; std::getline(in, line); ++number) {
    if (line.starts_with("{\"end\":")) {
      const Json end = parse_outside_json(line);
      const bool counted = end.is_object() && end.value("end", Json()) == pack.records.size() &&
                           header["records"] == pack.records.size();
      if (!counted)
        return fail("pack {} has {} records and says otherwise: copy it again", name, pack.records.size());
      const std::string sha256 = sha256_hex(bytes.substr(0, read));
      if (end.value("sha256", Json()) != sha256)
        return fail("pack {} is damaged (its checksum differs): copy it again", name);
      if (read + line.size() + 1 != bytes.size())
        return fail("pack {} goes on after its end, in line {}", name, number + 1);
      auto signatures = read_pack_signatures(end, sha256);
      if (!signatures) return fail("pack {}: {}", name, signatures.error().message);
      pack.signatures = *std::move(signatures);
      pack.bytes = bytes;
      return pack;
    }
    read += line.size() + 1;
    auto record = record_of(line, header);
    if (!record) return fail("pack {}, line {}: {}", name, number, record.error().message);
    if (!keys.insert(key_of(*record)).second)
      return fail("pack {}, line {}: its shape is there twice", name, number);
    pack.records.push_back(*std::move(record));
  }
  return fail("pack {} is cut short after {} records: copy it again", name, pack.records.size());
}

double median_error_us(const Timing& timing) {
  return timing.samples > 0 ? 1.57 * timing.spread_us / std::sqrt(static_cast<double>(timing.samples)) : 0;
}

}  // namespace attune
