#include "autotuner/llm/endpoint_chat.h"

#include <curl/curl.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "base/json_text.h"

namespace attune {
namespace {

using Json = nlohmann::json;

constexpr double kFirstPauseSeconds = 1;
constexpr double kLongestPauseSeconds = 60;   // of the back-off's own choice
constexpr double kLongestAskedSeconds = 300;  // a server that asks for more is as good as gone
constexpr std::size_t kLongestRemark = 200;   // of a server's own words in an error

// Parameters that not every server takes; one that is refused is left out from then on.
struct Dialect {
  bool max_completion_tokens = false;  // the newer name of max_tokens
  bool response_format = true;
  bool temperature = true;
};

bool mentions(const std::string& text, std::string_view word) {
  return text.find(word) != std::string::npos;
}

// Adapts to a refusal of a parameter; false if it is about something else.
bool adapt(Dialect& dialect, const std::string& refusal) {
  if (!dialect.max_completion_tokens && mentions(refusal, "max_tokens")) {
    dialect.max_completion_tokens = true;
  } else if (dialect.response_format && mentions(refusal, "response_format")) {
    dialect.response_format = false;
  } else if (dialect.temperature && mentions(refusal, "temperature")) {
    dialect.temperature = false;
  } else {
    return false;
  }
  return true;
}

// The server's own words, on one line and short.
std::string server_words(const std::string& body) {
  const Json json = parse_outside_json(body);
  std::string words;
  if (json.is_object() && json.contains("error")) {
    const Json& error = json["error"];
    if (error.is_string()) words = error.get<std::string>();
    if (error.is_object() && error.contains("message") && error["message"].is_string())
      words = error["message"].get<std::string>();
  }
  if (words.size() > kLongestRemark) words = words.substr(0, kLongestRemark) + "...";
  for (char& c : words) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  return words;
}

std::string content_of(const Json& message) {
  if (!message.is_object() || !message.contains("content")) return "";
  const Json& content = message["content"];
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  if (content.is_array()) {
    for (const Json& part : content) {
      if (part.is_object() && part.contains("text") && part["text"].is_string())
        text += part["text"].get<std::string>();
    }
  }
  return text;
}

std::int64_t count_of(const Json& usage, const char* key, std::int64_t fallback) {
  if (!usage.is_object() || !usage.contains(key) || !usage[key].is_number_integer()) return fallback;
  return std::max<std::int64_t>(0, usage[key].get<std::int64_t>());
}

class EndpointChat final : public ChatSource {
 public:
  EndpointChat(EndpointSettings settings, std::unique_ptr<HttpTransport> transport, CallBudget& budget,
               SecondsClock now, std::uint64_t seed)
      : settings_(std::move(settings)),
        transport_(std::move(transport)),
        budget_(budget),
        now_(std::move(now)),
        rng_(seed) {
    while (settings_.url.ends_with('/')) settings_.url.pop_back();
  }

  std::string name() const override { return without_credentials(settings_.url); }

  void ask(std::int64_t ticket, const ChatRequest& request) override {
    Question question{.ticket = ticket,
                      .request = request,
                      .prompt_tokens = estimated_tokens(request.system.size() + request.user.size())};
    start(std::move(question));
  }

  std::vector<ChatAnswer> take(SearchPosition, bool) override {
    for (auto& [id, outcome] : transport_->finished()) {
      const auto found = sent_.find(id);
      if (found == sent_.end()) continue;
      Question question = std::move(found->second);
      sent_.erase(found);
      ended(std::move(question), outcome);
    }
    std::vector<Question> due;
    for (auto it = paused_.begin(); it != paused_.end();) {
      if (now_() < std::max(it->not_before, quiet_until_)) {
        ++it;
        continue;
      }
      due.push_back(std::move(*it));
      it = paused_.erase(it);
    }
    for (Question& question : due) start(std::move(question));
    return std::exchange(answers_, {});
  }

 private:
  struct Question {
    std::int64_t ticket = 0;
    ChatRequest request;
    std::int64_t prompt_tokens = 0;
    int failures = 0;
    double not_before = 0;
  };

  void start(Question question) {
    if (now_() < quiet_until_) {  // the server asked for quiet: that holds for all questions
      paused_.push_back(std::move(question));
      return;
    }
    if (const auto status = budget_.reserve(question.request.model, question.prompt_tokens); !status) {
      give_up(question, status.error().message, false);
      return;
    }
    HttpRequest request{.url = settings_.url + "/chat/completions",
                        .bearer = settings_.key,
                        .body = body_of(question.request),
                        .ca_file = settings_.ca_file,
                        .timeout_seconds = std::min(settings_.timeout_seconds, budget_.seconds_left())};
    const std::int64_t id = transport_->start(std::move(request));
    sent_.emplace(id, std::move(question));
  }

  std::string body_of(const ChatRequest& request) const {
    Json json = {
        {"model", request.model},
        {"messages",
         {{{"role", "system"}, {"content", request.system}}, {{"role", "user"}, {"content", request.user}}}}};
    json[dialect_.max_completion_tokens ? "max_completion_tokens" : "max_tokens"] =
        budget_.limits().max_answer_tokens;
    if (dialect_.response_format) json["response_format"] = {{"type", "json_object"}};
    if (dialect_.temperature) json["temperature"] = 0.7;
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  void settle(const Question& question, const ChatUsage& usage) {
    budget_.settle(question.request.model, question.prompt_tokens, usage);
  }

  void ended(Question question, const HttpOutcome& outcome) {
    const HttpReply& reply = outcome.reply;
    if (outcome.fault == HttpFault::timeout || outcome.fault == HttpFault::too_large) {
      // Nobody says what it cost: the worst.
      settle(question, {question.prompt_tokens, budget_.limits().max_answer_tokens});
    } else if (outcome.fault != HttpFault::none || reply.status != 200) {
      settle(question, {});
    }
    if (outcome.fault == HttpFault::unreachable || outcome.fault == HttpFault::timeout) {
      return retry(std::move(question), outcome.message, 0);
    }
    if (outcome.fault != HttpFault::none) {
      return give_up(question, outcome.message, outcome.fault != HttpFault::too_large);
    }
    if (reply.status == 200) return read(std::move(question), reply);
    refused(std::move(question), reply);
  }

  void refused(Question question, const HttpReply& reply) {
    std::string message = fmt::format("{} answers HTTP {}", name(), reply.status);
    if (const std::string words = server_words(reply.body); !words.empty()) message += ": " + words;
    const bool may_pass = reply.status == 408 || reply.status == 409 || reply.status == 425 ||
                          reply.status == 429 || reply.status >= 500;
    if (may_pass) {
      const double asked = retry_after_seconds(reply.retry_after, std::time(nullptr)).value_or(0);
      if (asked > kLongestAskedSeconds)
        return give_up(question, fmt::format("{} (try again in {:.0f} s)", message, asked), true);
      quiet_until_ = std::max(quiet_until_, now_() + asked);
      return retry(std::move(question), message, asked);
    }
    if ((reply.status == 400 || reply.status == 422) && adapt(dialect_, reply.body)) {
      return start(std::move(question));
    }
    if (reply.status == 401 || reply.status == 403) message += " (it refuses the key)";
    if (reply.status >= 300 && reply.status < 400) {
      message += fmt::format(" to {}, which is not followed: set ATTUNE_LLM_URL to where it leads",
                             without_credentials(reply.location));
    }
    give_up(question, message, true);
  }

  void read(Question question, const HttpReply& reply) {
    const Json json = parse_outside_json(reply.body);
    const Json usage = json.is_object() && json.contains("usage") ? json["usage"] : Json();
    ChatAnswer answer{.ticket = question.ticket,
                      .text = {},
                      .error = {},
                      .fatal = false,
                      .model = question.request.model,
                      .usage = {count_of(usage, "prompt_tokens", question.prompt_tokens),
                                count_of(usage, "completion_tokens", estimated_tokens(reply.body.size()))}};
    settle(question, answer.usage);
    if (!mentions(reply.content_type, "json")) {
      return give_up(question,
                     fmt::format("{} answers with '{}' where JSON is due; ATTUNE_LLM_URL should end where "
                                 "/chat/completions begins, often in /v1",
                                 name(), reply.content_type.substr(0, 60)),
                     false);
    }
    if (json.is_discarded())
      return retry(std::move(question), name() + " answers with JSON that is cut or wrong", 0);
    if (!json.is_object() || !json.contains("choices") || !json["choices"].is_array() ||
        json["choices"].empty() || !json["choices"][0].is_object() ||
        !json["choices"][0].contains("message")) {
      return give_up(question, name() + " answers with JSON that is no chat completion", false);
    }
    answer.text = redacted(content_of(json["choices"][0]["message"]));
    answers_.push_back(std::move(answer));
  }

  void retry(Question question, const std::string& why, double asked_seconds) {
    ++question.failures;
    if (question.failures > settings_.retries) return give_up(question, why, false);
    const double doubled = kFirstPauseSeconds * std::pow(2.0, question.failures - 1);
    const double jitter = 0.5 + static_cast<double>(rng_() >> 11) * 0x1p-53;
    const double pause = std::max(std::min(doubled, kLongestPauseSeconds) * jitter, asked_seconds);
    if (pause > budget_.seconds_left()) return give_up(question, why, false);
    question.not_before = now_() + pause;
    paused_.push_back(std::move(question));
  }

  void give_up(const Question& question, const std::string& why, bool fatal) {
    ChatAnswer answer;
    answer.ticket = question.ticket;
    answer.error = redacted(why);
    answer.fatal = fatal;
    answer.model = question.request.model;
    answers_.push_back(std::move(answer));
  }

  // A server may repeat the key in what it says.
  std::string redacted(std::string text) const {
    if (settings_.key.empty()) return text;
    for (std::size_t at = text.find(settings_.key); at != std::string::npos;
         at = text.find(settings_.key, at)) {
      text.replace(at, settings_.key.size(), "[key]");
    }
    return text;
  }

  EndpointSettings settings_;
  std::unique_ptr<HttpTransport> transport_;
  CallBudget& budget_;
  SecondsClock now_;
  std::mt19937_64 rng_;
  Dialect dialect_;
  double quiet_until_ = 0;
  std::map<std::int64_t, Question> sent_;  // by the transport's id
  std::vector<Question> paused_;
  std::vector<ChatAnswer> answers_;
};

}  // namespace

Status check_endpoint(const EndpointSettings& settings) {
  const bool secure = settings.url.starts_with("https://");
  const std::string shown = without_credentials(settings.url);
  if (!secure && !settings.url.starts_with("http://"))
    return fail("ATTUNE_LLM_URL '{}' must begin with https:// or http://", shown);
  for (const char c : settings.key) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f')
      return fail("ATTUNE_LLM_API_KEY holds a blank or a control character: it is no key");
  }
  if (!secure && !settings.key.empty() && !is_loopback(settings.url)) {
    return fail("the key would travel to {} unencrypted: use https://, or unset ATTUNE_LLM_API_KEY", shown);
  }
  return {};
}

std::string take_secret(const char* variable) {
  char* value = std::getenv(variable);
  if (value == nullptr) return "";
  std::string secret = value;
  explicit_bzero(value, secret.size());
  unsetenv(variable);
  if (!secret.empty()) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  return secret;
}

std::unique_ptr<ChatSource> endpoint_chat(EndpointSettings settings, std::unique_ptr<HttpTransport> transport,
                                          CallBudget& budget, SecondsClock now, std::uint64_t seed) {
  return std::make_unique<EndpointChat>(std::move(settings), std::move(transport), budget, std::move(now),
                                        seed);
}

std::optional<double> retry_after_seconds(const std::string& value, std::int64_t unix_now) {
  if (value.empty()) return std::nullopt;
  if (value.find_first_not_of("0123456789") == std::string::npos)
    return std::strtod(value.substr(0, 9).c_str(), nullptr);
  const std::time_t date = curl_getdate(value.c_str(), nullptr);
  if (date < 0) return std::nullopt;
  return std::max<double>(0, static_cast<double>(date - unix_now));
}

}  // namespace attune
