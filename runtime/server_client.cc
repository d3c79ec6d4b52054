#include "runtime/server_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "base/json_text.h"
#include "base/read_file.h"
#include "cache/trial_json.h"
#include "compiler/publish_file.h"
#include "runtime/http_fetch.h"

namespace attune {
namespace {

using nlohmann::json;

constexpr double kLookupSeconds = 5;
constexpr double kDownloadSeconds = 30;
constexpr std::chrono::seconds kFirstPause{15};
constexpr std::chrono::seconds kLongestPause{600};

json parse(const std::string& text) {
  return parse_outside_json(text);
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::int64_t number_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

}  // namespace

ServerClient::ServerClient(Settings settings, std::function<void(const std::string&)> log, Clock now)
    : settings_([&] {
        while (settings.url.ends_with('/')) settings.url.pop_back();
        return std::move(settings);
      }()),
      log_(std::move(log)),
      now_(std::move(now)) {}

std::optional<std::string> ServerClient::ask(const std::string& path, const std::optional<std::string>& body,
                                             double seconds) {
  if (now_() < again_at_) return std::nullopt;
  FetchRequest request;
  request.url = settings_.url + path;
  request.bearer = settings_.token;
  request.body = body;
  request.seconds = seconds;
  const auto reply = http_fetch(request);
  if (!reply) {
    note_failure(reply.error().message);
    return std::nullopt;
  }
  if (reply->status == 200) {
    pause_ = {};
    return reply->body;
  }
  const std::string said = text_of(parse(reply->body), "error");
  const std::string why =
      fmt::format("{} answers {}{}{}", settings_.url, reply->status, said.empty() ? "" : ": ", said);
  // A refusal of this very question says nothing of the next one.
  const bool of_the_question = reply->status == 404 || reply->status == 409 || reply->status == 422;
  of_the_question ? log_(why) : note_failure(why);
  return std::nullopt;
}

void ServerClient::note_failure(const std::string& why) {
  const bool first = pause_ == std::chrono::seconds(0);
  pause_ = first ? kFirstPause : std::min(pause_ * 2, kLongestPause);
  again_at_ = now_() + pause_;
  if (first)
    log_(
        fmt::format("{}; going on without the server, which is asked again after {} s", why, pause_.count()));
}

std::filesystem::path ServerClient::kept_file(const Shape& shape, const DeviceFacts& device) const {
  const std::string question =
      settings_.url + "\n" + to_json(shape).dump() + "\n" + device.name + "\n" + device.arch;
  return settings_.kept / (sha256_hex(question) + ".json");
}

std::optional<Trial> ServerClient::kept_record(const Shape& shape, const DeviceFacts& device) const {
  const auto text = read_file(kept_file(shape, device).string());
  if (!text) return std::nullopt;
  const auto trial = trial_from_json(parse(*text));
  return trial ? std::optional(*trial)
               : std::nullopt;  // damaged, or of another version: as if it were not there
}

void ServerClient::keep(const Trial& record, const Shape& shape, const DeviceFacts& device) const {
  std::error_code ignored;
  std::filesystem::create_directories(settings_.kept, ignored);
  (void)publish_file(kept_file(shape, device),
                     to_json_line(record));  // a full disk costs only what it would save
}

std::optional<Trial> ServerClient::record(const Shape& shape, const DeviceFacts& device) {
  const json question = {{"shape", to_json(shape)}, {"device", to_json(device)}};
  const auto answer = ask("/v1/lookup", question.dump(), kLookupSeconds);
  if (!answer) return kept_record(shape, device);
  const json said = parse(*answer);
  const auto found = said.find("record");
  if (!said.is_object() || found == said.end())
    return std::nullopt;  // it knows nothing better than the default
  auto trial = trial_from_json(*found);
  if (!trial) {
    log_(fmt::format("{} gave a record that cannot be read: {}", settings_.url, trial.error().message));
    return std::nullopt;
  }
  const auto known = kept_record(shape, device);
  const bool same =
      known && known->config_hash == trial->config_hash && known->template_hash == trial->template_hash;
  if (same && known->timing == trial->timing) return known;  // with the kernel's key, if it was fetched
  keep(*trial, shape, device);
  return *std::move(trial);
}

std::optional<CompiledKernel> ServerClient::kernel(const Choice& choice, const Shape& shape,
                                                   const DeviceFacts& device, double patience_seconds) {
  const json question = {{"shape", to_json(shape)},
                         {"device", to_json(device)},
                         {"template", choice.tmpl->name()},
                         {"template_hash", choice.tmpl->hash()},
                         {"config", parse(choice.config_json)}};
  const auto answer = ask("/v1/compile", question.dump(), patience_seconds);
  if (!answer) return std::nullopt;
  const json report = parse(*answer);
  const std::string key = text_of(report, "cubin_key");
  const bool is_key = key.size() == 64 && key.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (text_of(report, "outcome") != "ok" || !is_key || text_of(report, "arch") != device.arch) {
    log_(fmt::format("{} has no kernel of {} for {}", settings_.url, choice.config_json, device.arch));
    return std::nullopt;
  }
  auto cubin = ask("/v1/cubins/" + key, std::nullopt, kDownloadSeconds);
  if (!cubin) return std::nullopt;
  CompiledKernel kernel;
  kernel.cubin_hash = sha256_hex(*cubin);
  if (kernel.cubin_hash != text_of(report, "cubin_hash")) {
    log_(fmt::format("{} sent a kernel that is not the one it named (its hash differs); it is not used",
                     settings_.url));
    return std::nullopt;
  }
  kernel.outcome = CompileOutcome::ok;
  kernel.key = key;
  kernel.cubin = *std::move(cubin);
  kernel.entry = text_of(report, "entry");
  kernel.arch = device.arch;
  kernel.usage = {.registers = static_cast<int>(number_of(report, "registers")),
                  .spill_store_bytes = number_of(report, "spill_store_bytes"),
                  .spill_load_bytes = number_of(report, "spill_load_bytes"),
                  .stack_bytes = number_of(report, "stack_bytes"),
                  .static_smem_bytes = number_of(report, "static_smem_bytes")};
  kernel.log = text_of(report, "log");
  if (const auto took = report.find("compile_ms"); took != report.end() && took->is_number())
    kernel.compile_ms = took->get<double>();
  if (auto known = kept_record(shape, device); known && known->config_json == choice.config_json) {
    known->cubin_key = key;  // so that the next process finds it in the store without asking
    known->cubin_hash = kernel.cubin_hash;
    keep(*known, shape, device);
  }
  return kernel;
}

}  // namespace attune
