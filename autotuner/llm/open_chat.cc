#include "autotuner/llm/open_chat.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "autotuner/llm/exchange_chat.h"
#include "autotuner/llm/transcript.h"
#include "base/time.h"

namespace attune {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A number and nothing else, not negative.
std::optional<double> number(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(value >= 0) || value > 1e9) return std::nullopt;
  return value;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    if (end > begin) words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

TranscriptInfo transcript_info(const ChatPlan& flags, const Target& target, const TuneOptions& options,
                               const std::string& source) {
  const auto& recording = target.device.recording;
  return {.shape = target.shape,
          .template_name = std::string(target.tmpl->name()),
          .template_hash = std::string(target.tmpl->hash()),
          .device = recording ? "replayed: " + recording->info.name : target.device.facts.name,
          .source = source,
          .note = flags.note,
          .created_at = utc_timestamp(),
          .search = {{"seed", options.seed},
                     {"max_trials", options.max_trials},
                     {"outstanding", options.window},
                     {"batch", flags.chat.batch},
                     {"wait_seconds", flags.chat.wait_seconds}}};
}

Result<std::unique_ptr<ChatSource>> open_endpoint(ChatPlan& flags, CallBudget& budget, std::uint64_t seed) {
  if (flags.endpoint.url.empty()) take_endpoint(flags.endpoint);
  if (const auto status = check_endpoint(flags.endpoint); !status) return status.error();
  if (flags.models.empty()) flags.models = split(environment("ATTUNE_LLM_MODEL"), ',');
  auto models = parse_models(flags.models);
  if (!models) return models.error();
  if (models->empty()) return fail("no model is named: set ATTUNE_LLM_MODEL, or give --llm-model");
  flags.chat.models = *std::move(models);
  for (const WeightedModel& model : flags.chat.models) {
    const auto& prices = budget.limits().prices;
    if (flags.limits.max_dollars > 0 && !prices.contains(model.name) && !prices.contains(""))
      return fail("--llm-max-cost needs the price of '{}': --llm-price {}=IN/OUT", model.name, model.name);
  }
  return endpoint_chat(flags.endpoint, curl_transport(), budget, steady_seconds, seed);
}

Result<std::unique_ptr<ChatSource>> open_replay(const std::string& file, const Target& target,
                                                TuneOptions& options,
                                                const std::function<void(const std::string&)>& notify) {
  auto replay = replay_chat(file);
  if (!replay) return fail("--llm-replay: {}", replay.error().message);
  const TranscriptInfo& info = replay->info;
  if (info.shape != target.shape || info.template_name != target.tmpl->name()) {
    return fail("--llm-replay: {} was recorded for {} with the template {}, not for {} with {}", file,
                to_string(info.shape), info.template_name, to_string(target.shape), target.tmpl->name());
  }
  if (info.template_hash != target.tmpl->hash())
    notify(fmt::format("LLM: {} was recorded with other kernels than today's", file));
  const auto outstanding = info.search.find("outstanding");  // transcripts of earlier versions have none
  if (outstanding != info.search.end() && outstanding->is_number_integer() && *outstanding > 0)
    options.window = outstanding->get<int>();
  return std::move(replay->source);
}

}  // namespace

void take_endpoint(EndpointSettings& endpoint) {
  endpoint.url = environment("ATTUNE_LLM_URL");
  endpoint.ca_file = environment("ATTUNE_LLM_CA_FILE");
  endpoint.key = take_secret("ATTUNE_LLM_API_KEY");
}

Result<std::vector<WeightedModel>> parse_models(const std::vector<std::string>& words) {
  std::vector<WeightedModel> models;
  for (const std::string& word : words) {
    const std::size_t equals = word.rfind('=');
    WeightedModel model{word.substr(0, equals), 1};
    if (equals != std::string::npos) {
      const auto weight = number(word.substr(equals + 1));
      if (!weight || *weight == 0) return fail("'{}' is no model with a weight: NAME=WEIGHT", word);
      model.weight = *weight;
    }
    if (model.name.empty()) return fail("'{}' names no model: NAME or NAME=WEIGHT", word);
    models.push_back(std::move(model));
  }
  return models;
}

Result<std::map<std::string, TokenPrice>> parse_prices(const std::vector<std::string>& words) {
  std::map<std::string, TokenPrice> prices;
  for (const std::string& word : words) {
    const std::size_t equals = word.rfind('=');
    const std::string model = equals == std::string::npos ? "" : word.substr(0, equals);
    const auto parts = split(equals == std::string::npos ? word : word.substr(equals + 1), '/');
    const auto prompt = parts.size() == 2 ? number(parts[0]) : std::nullopt;
    const auto completion = parts.size() == 2 ? number(parts[1]) : std::nullopt;
    if (!prompt || !completion) return fail("--llm-price: '{}' is not [MODEL=]IN/OUT, as in 2.5/10", word);
    prices[model] = {*prompt, *completion};
  }
  return prices;
}

Result<std::shared_ptr<ChatSession>> open_chat(ChatPlan flags, const Target& target, TuneOptions& options,
                                               std::function<void(const std::string&)> notify) {
  const auto prices = parse_prices(flags.prices);
  if (!prices) return prices.error();
  flags.limits.prices = *prices;
  auto budget = std::make_unique<CallBudget>(flags.limits, steady_seconds);
  const bool live = flags.exchange.empty() && flags.replay.empty();
  auto source = live                   ? open_endpoint(flags, *budget, options.seed)
                : flags.replay.empty() ? exchange_chat(flags.exchange, *budget, steady_seconds)
                                       : open_replay(flags.replay, target, options, notify);
  if (!source) return source.error();
  if (flags.chat.models.empty()) flags.chat.models = {{"", 1}};
  flags.chat.seed = options.seed;
  std::unique_ptr<TranscriptWriter> writer;
  if (!flags.record.empty()) {
    auto opened =
        TranscriptWriter::create(flags.record, transcript_info(flags, target, options, (*source)->name()));
    if (!opened) return fail("--llm-record: {}", opened.error().message);
    writer = *std::move(opened);
  }
  auto session = std::make_shared<ChatSession>(std::move(budget), *std::move(source), flags.chat,
                                               steady_seconds, std::move(notify));
  session->record_to(std::move(writer));
  return session;
}

}  // namespace attune
