#include "autotuner/llm/exchange_chat.h"

#include <map>
#include <nlohmann/json.hpp>

#include "autotuner/llm/reply_text.h"
#include "base/read_file.h"
#include "compiler/publish_file.h"

namespace attune {
namespace {

using Json = nlohmann::json;

constexpr std::uintmax_t kLongestAnswerBytes = 1 << 20;
constexpr double kSettleSeconds = 3;  // an answer that looks cut is taken once it has not changed for so long

constexpr const char* kHowTo =
    "Write your answer to the file named in \"answer_file\" in this folder, under another name first, then "
    "rename it. It is the JSON object that the system message describes (text around it does no harm); a key "
    "\"model\" in it may say who answered.";

std::string numbered(std::string_view kind, std::int64_t number, std::string_view suffix) {
  return fmt::format("{}-{:04}{}", kind, number, suffix);
}

// The number in "request-0012.json" or "answer-0012.json", 0 in other names.
std::int64_t number_in(const std::string& name) {
  if (!name.starts_with("request-") && !name.starts_with("answer-")) return 0;
  const std::size_t begin = name.find('-') + 1;
  const std::size_t end = std::min(name.find_first_not_of("0123456789", begin), name.size());
  return end == begin || end - begin > 9 ? 0 : std::stoll(name.substr(begin, end - begin));
}

class ExchangeChat final : public ChatSource {
 public:
  ExchangeChat(std::filesystem::path folder, std::int64_t last_number, CallBudget& budget, SecondsClock now)
      : folder_(std::move(folder)), number_(last_number), budget_(budget), now_(std::move(now)) {}

  // Who answers must learn that nobody waits any more.
  ~ExchangeChat() override {
    static_cast<void>(publish_file(folder_ / "ended", "The search is over: nobody waits for answers.\n"));
  }

  std::string name() const override { return "exchange"; }

  void ask(std::int64_t ticket, const ChatRequest& request) override {
    Waiting waiting{.ticket = ticket,
                    .model = request.model,
                    .prompt_tokens = estimated_tokens(request.system.size() + request.user.size())};
    Status status = budget_.reserve(request.model, waiting.prompt_tokens);
    if (status) status = publish(++number_, request);
    if (!status) {
      ChatAnswer answer;
      answer.ticket = ticket;
      answer.error = status.error().message;
      answer.fatal = true;
      failed_.push_back(std::move(answer));
      return;
    }
    waiting.file = folder_ / numbered("answer", number_, ".json");
    waiting_.push_back(std::move(waiting));
  }

  std::vector<ChatAnswer> take(SearchPosition, bool) override {
    std::vector<ChatAnswer> answers = std::exchange(failed_, {});
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (auto answer = look(*it)) {
        budget_.settle(it->model, it->prompt_tokens, answer->usage);
        answers.push_back(*std::move(answer));
        it = waiting_.erase(it);
      } else {
        ++it;
      }
    }
    return answers;
  }

 private:
  struct Waiting {
    std::int64_t ticket = 0;
    std::string model;
    std::int64_t prompt_tokens = 0;
    std::filesystem::path file = {};
    std::uintmax_t seen_bytes = 0;
    double unchanged_since = 0;
  };

  Status publish(std::int64_t number, const ChatRequest& request) {
    const Json json = {
        {"number", number},
        {"answer_file", numbered("answer", number, ".json")},
        {"how_to_answer", kHowTo},
        {"model", request.model},
        {"messages",
         {{{"role", "system"}, {"content", request.system}}, {{"role", "user"}, {"content", request.user}}}}};
    const std::string readable = fmt::format("{}\n\n{}\n", request.system, request.user);
    if (auto status = publish_file(folder_ / numbered("request", number, ".md"), readable); !status)
      return status;
    return publish_file(folder_ / numbered("request", number, ".json"),
                        json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  }

  std::optional<ChatAnswer> look(Waiting& waiting) {
    std::error_code absent;
    const std::uintmax_t bytes = std::filesystem::file_size(waiting.file, absent);
    if (absent) return std::nullopt;
    ChatAnswer answer;
    answer.ticket = waiting.ticket;
    answer.model = waiting.model;
    if (bytes > kLongestAnswerBytes) {
      answer.error = fmt::format("{} has {} B, more than the {} B that are read", waiting.file.string(),
                                 bytes, kLongestAnswerBytes);
      return answer;
    }
    auto text = read_file(waiting.file.string());
    if (!text) {
      answer.error = text.error().message;
      return answer;
    }
    const ReplyText reply = read_reply(*text);
    if (!reply.complete && !settled(waiting, bytes)) return std::nullopt;
    if (!reply.model.empty()) answer.model = reply.model;
    answer.usage = {waiting.prompt_tokens, estimated_tokens(text->size())};
    answer.text = *std::move(text);
    return answer;
  }

  // A writer that does not rename may be at it still.
  bool settled(Waiting& waiting, std::uintmax_t bytes) const {
    if (bytes == 0 || bytes != waiting.seen_bytes) {
      waiting.seen_bytes = bytes;
      waiting.unchanged_since = now_();
      return false;
    }
    return now_() - waiting.unchanged_since >= kSettleSeconds;
  }

  std::filesystem::path folder_;
  std::int64_t number_;
  CallBudget& budget_;
  SecondsClock now_;
  std::vector<Waiting> waiting_;
  std::vector<ChatAnswer> failed_;
};

}  // namespace

Result<std::unique_ptr<ChatSource>> exchange_chat(const std::filesystem::path& folder, CallBudget& budget,
                                                  SecondsClock now) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail("--llm-exchange: cannot make {}: {}", folder.string(), error.message());
  std::filesystem::remove(folder / "ended", error);
  std::int64_t last = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    last = std::max(last, number_in(entry.path().filename().string()));
  if (error) return fail("--llm-exchange: cannot list {}: {}", folder.string(), error.message());
  return std::unique_ptr<ChatSource>(std::make_unique<ExchangeChat>(folder, last, budget, std::move(now)));
}

}  // namespace attune
