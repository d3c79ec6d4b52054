// An endpoint over a network made here, with a clock made here.
#include <gmock/gmock.h>

#include <cstdlib>
#include <deque>
#include <nlohmann/json.hpp>

#include "autotuner/llm/endpoint_chat.h"
#include "autotuner/llm/http.h"

namespace attune {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

// ---- the endpoint, over a network made here ----

class FakeNetwork final : public HttpTransport {
 public:
  struct State {
    std::vector<HttpRequest> requests;
    std::deque<HttpOutcome> outcomes;  // of the next requests; none left: they hang
    std::vector<std::pair<std::int64_t, HttpOutcome>> done;
  };
  explicit FakeNetwork(State& state) : state_(state) {}
  std::int64_t start(HttpRequest request) override {
    state_.requests.push_back(std::move(request));
    if (!state_.outcomes.empty()) {
      state_.done.emplace_back(static_cast<std::int64_t>(state_.requests.size()), state_.outcomes.front());
      state_.outcomes.pop_front();
    }
    return static_cast<std::int64_t>(state_.requests.size());
  }
  std::vector<std::pair<std::int64_t, HttpOutcome>> finished() override {
    return std::exchange(state_.done, {});
  }

 private:
  State& state_;
};

HttpOutcome http(long status, std::string body, std::string retry_after = "",
                 std::string type = "application/json") {
  HttpOutcome outcome;
  outcome.reply = {.status = status,
                   .content_type = std::move(type),
                   .retry_after = std::move(retry_after),
                   .location = status / 100 == 3 ? "https://user:pw@elsewhere.example/v1" : "",
                   .body = std::move(body),
                   .seconds = 0.1};
  return outcome;
}

HttpOutcome fault(HttpFault what) {
  HttpOutcome outcome;
  outcome.fault = what;
  outcome.message = "planted";
  return outcome;
}

std::string completion(const std::string& text) {
  return json{{"choices", {{{"message", {{"content", text}}}}}},
              {"usage", {{"prompt_tokens", 11}, {"completion_tokens", 22}}}}
      .dump();
}

class Endpoint : public testing::Test {
 protected:
  static constexpr const char* kKey = "sk-very-secret";

  void SetUp() override {
    EndpointSettings settings{
        .url = "https://model.example/v1/", .key = kKey, .ca_file = "", .timeout_seconds = 120, .retries = 3};
    chat_ = endpoint_chat(
        settings, std::make_unique<FakeNetwork>(network_), budget_, [this] { return now_; }, 1);
  }

  // Lets up to `seconds` go by until the answer is there.
  std::optional<ChatAnswer> answer(double seconds = 1000) {
    for (const double until = now_ + seconds; now_ <= until; now_ += 0.25) {
      auto answers = chat_->take({}, false);
      if (!answers.empty()) return answers[0];
    }
    return std::nullopt;
  }
  ChatAnswer asked() {
    chat_->ask(1, {"m", "s", "u"});
    auto got = answer();
    EXPECT_TRUE(got);
    return got.value_or(ChatAnswer{});
  }

  double now_ = 0;
  CallBudget budget_{CallLimits{}, [this] { return now_; }};
  FakeNetwork::State network_;
  std::unique_ptr<ChatSource> chat_;
};

TEST_F(Endpoint, AnswersAndCountsTokens) {
  network_.outcomes = {http(200, completion("hello"))};
  const ChatAnswer got = asked();
  EXPECT_EQ(got.text, "hello");
  EXPECT_EQ(budget_.used().total(), 33);
  ASSERT_EQ(network_.requests.size(), 1u);
  EXPECT_EQ(network_.requests[0].url, "https://model.example/v1/chat/completions");
  EXPECT_EQ(network_.requests[0].bearer, kKey);
  const json body = json::parse(*network_.requests[0].body);
  EXPECT_EQ(body["model"], "m");
  EXPECT_EQ(body["messages"][1]["content"], "u");
  EXPECT_THAT(*network_.requests[0].body, Not(HasSubstr(kKey)));
}

TEST_F(Endpoint, HonoursRetryAfterForAllQuestions) {
  network_.outcomes = {http(429, "{}", "30"), http(200, completion("a")), http(200, completion("b"))};
  chat_->ask(1, {"m", "s", "u"});
  chat_->take({}, false);
  chat_->ask(2, {"m", "s", "u"});
  EXPECT_FALSE(answer(29.5));
  EXPECT_EQ(network_.requests.size(), 1u);
  now_ = 30.5;
  EXPECT_TRUE(answer(2));
  EXPECT_EQ(network_.requests.size(), 3u);
}

TEST_F(Endpoint, BacksOffLongerEachTimeAndGivesUp) {
  network_.outcomes = {http(500, "{}"), http(503, ""), fault(HttpFault::unreachable), http(502, "")};
  const ChatAnswer got = asked();
  EXPECT_FALSE(got.text);
  EXPECT_FALSE(got.fatal);
  EXPECT_THAT(got.error, HasSubstr("HTTP 502"));
  EXPECT_EQ(network_.requests.size(), 4u);
  EXPECT_GT(now_, 0.5 * (1 + 2 + 4));
  EXPECT_LT(now_, 1.5 * (1 + 2 + 4) + 2);
}

TEST_F(Endpoint, AServerThatAsksForAnHourIsGivenUp) {
  network_.outcomes = {http(429, "{}", "3600")};
  EXPECT_THAT(asked().error, HasSubstr("3600 s"));
  EXPECT_EQ(network_.requests.size(), 1u);
}

TEST_F(Endpoint, ARefusedKeyIsFatalAndNeverShown) {
  network_.outcomes = {http(401, R"({"error":{"message":"wrong key sk-very-secret\nbye"}})")};
  const ChatAnswer got = asked();
  EXPECT_TRUE(got.fatal);
  EXPECT_THAT(got.error, HasSubstr("HTTP 401: wrong key [key] bye"));
  EXPECT_THAT(got.error, Not(HasSubstr("secret")));
}

TEST_F(Endpoint, TheKeyInAnAnswerIsTakenOut) {
  network_.outcomes = {http(200, completion("you sent sk-very-secret"))};
  EXPECT_EQ(asked().text, "you sent [key]");
}

TEST_F(Endpoint, ARedirectIsNotFollowed) {
  network_.outcomes = {http(307, "")};
  const ChatAnswer got = asked();
  EXPECT_TRUE(got.fatal);
  EXPECT_THAT(got.error, HasSubstr("HTTP 307 to https://elsewhere.example/v1, which is not followed"));
  EXPECT_THAT(got.error, Not(HasSubstr("pw")));
}

TEST_F(Endpoint, UntrustedCertificatesAreFatal) {
  network_.outcomes = {fault(HttpFault::tls)};
  EXPECT_TRUE(asked().fatal);
}

TEST_F(Endpoint, OtherContentAndCutJsonAreFailures) {
  network_.outcomes = {http(200, "<html>log in</html>", "", "text/html")};
  EXPECT_THAT(asked().error, HasSubstr("'text/html' where JSON is due"));
  const std::string whole = completion("x");
  for (int i = 0; i < 4; ++i) network_.outcomes.push_back(http(200, whole.substr(0, whole.size() / 2)));
  EXPECT_THAT(asked().error, HasSubstr("cut or wrong"));
  for (const char* other :
       {"[]", "{}", "5", R"({"choices":[]})", R"({"choices":[5]})", R"({"choices":[{}]})"}) {
    network_.outcomes = {http(200, other)};
    EXPECT_THAT(asked().error, HasSubstr("no chat completion")) << other;
  }
}

TEST_F(Endpoint, ParametersThatAServerRefusesAreLeftOut) {
  network_.outcomes = {http(400, R"({"error":{"message":"use max_completion_tokens, not max_tokens"}})"),
                       http(400, R"({"error":"response_format is unknown"})"),
                       http(422, R"({"error":"temperature must be 1"})"), http(200, completion("ok")),
                       http(200, completion("ok"))};
  EXPECT_EQ(asked().text, "ok");
  const json body = json::parse(*network_.requests[3].body);
  EXPECT_FALSE(body.contains("max_tokens") || body.contains("response_format") ||
               body.contains("temperature"));
  EXPECT_TRUE(body.contains("max_completion_tokens"));
  EXPECT_EQ(asked().text, "ok");
  EXPECT_EQ(network_.requests.size(), 5u);
}

TEST_F(Endpoint, LimitsHoldForRetriesToo) {
  budget_ = CallBudget({.max_calls = 2}, [this] { return now_; });
  for (int i = 0; i < 4; ++i) network_.outcomes.push_back(http(500, ""));
  EXPECT_THAT(asked().error, HasSubstr("limit of 2 calls"));
  EXPECT_EQ(network_.requests.size(), 2u);
}

TEST_F(Endpoint, TheTimeLeftBoundsACall) {
  budget_ = CallBudget({.max_calls = 0, .max_seconds = 20}, [this] { return now_; });
  chat_->ask(1, {"m", "s", "u"});
  EXPECT_EQ(network_.requests.at(0).timeout_seconds, 20);
}

TEST(EndpointSettings, AKeyIsNotSentUnencryptedToOtherMachines) {
  const auto check = [](std::string url, std::string key) {
    EndpointSettings settings;
    settings.url = std::move(url);
    settings.key = std::move(key);
    return check_endpoint(settings);
  };
  EXPECT_TRUE(check("https://model.example/v1", "k"));
  EXPECT_TRUE(check("http://model.example/v1", ""));
  EXPECT_TRUE(check("http://127.0.0.1:8000/v1", "k"));
  EXPECT_TRUE(check("http://localhost/v1", "k"));
  EXPECT_TRUE(check("http://[::1]:80/v1", "k"));
  EXPECT_FALSE(check("http://model.example/v1", "k"));
  EXPECT_FALSE(check("http://127.0.0.1.evil.example/v1", "k"));
  EXPECT_FALSE(check("http://localhost@evil.example/v1", "k"));
  EXPECT_FALSE(check("file:///etc/passwd", ""));
  EXPECT_FALSE(check("https://model.example/v1", "k\r\nX-Injected: 1"));
  EXPECT_THAT(check("http://u:pw@model.example/v1?k=s", "kkk").error().message, Not(HasSubstr("pw")));
}

TEST(EndpointSettings, ASecretIsWipedFromTheEnvironment) {
  setenv("ATTUNE_TEST_SECRET", "hush-hush", 1);
  const char* place = getenv("ATTUNE_TEST_SECRET");
  EXPECT_EQ(take_secret("ATTUNE_TEST_SECRET"), "hush-hush");
  EXPECT_EQ(getenv("ATTUNE_TEST_SECRET"), nullptr);
  EXPECT_EQ(*place, '\0');
  EXPECT_EQ(take_secret("ATTUNE_TEST_SECRET"), "");
}

TEST(RetryAfter, SecondsOrADate) {
  EXPECT_EQ(retry_after_seconds("120", 0), 120);
  EXPECT_EQ(retry_after_seconds("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 - 30), 30);
  EXPECT_EQ(retry_after_seconds("Sun, 06 Nov 1994 08:49:37 GMT", 784111777 + 30), 0);
  EXPECT_EQ(retry_after_seconds("soon", 0), std::nullopt);
  EXPECT_EQ(retry_after_seconds("", 0), std::nullopt);
}

TEST(Url, CredentialsAreTakenOut) {
  EXPECT_EQ(without_credentials("https://user:secret@host:8000/v1"), "https://host:8000/v1");
  EXPECT_EQ(without_credentials("https://host/v1?key=secret"), "https://host/v1");
  EXPECT_EQ(without_credentials("http://host/a@b"), "http://host/a@b");
}

}  // namespace
}  // namespace attune
