// What a language model, its endpoint, or whoever answers in its place may send.
#include <nlohmann/json.hpp>

#include "autotuner/llm/endpoint_chat.h"
#include "autotuner/llm/proposal.h"
#include "autotuner/llm/reply_text.h"
#include "fuzz.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

struct SearchedSpace {
  Space space;
  Point standard;
};

const SearchedSpace& searched() {
  static const SearchedSpace made = [] {
    const DeviceFacts device = *nominal_facts("sm_90a");
    const Shape shape{.q_heads = 32, .kv_heads = 32, .q_len = 2048, .kv_len = 2048, .head_dim = 64};
    const AttentionTemplate& tmpl = **find_template("portable");
    Space space(tmpl.space(shape, device));
    Point standard = *space.point(tmpl.default_config(shape, device));
    return SearchedSpace{std::move(space), std::move(standard)};
  }();
  return made;
}

void read_text(std::string_view text) {
  constexpr std::size_t kMostProposals = 8;  // repairing one takes a while; the others say nothing new
  const ReplyText reply = read_reply(text);
  const auto& [space, standard] = searched();
  const TrialPoints trials = [](std::int64_t number) {
    return number >= 1 && number <= 3 ? &searched().standard : nullptr;
  };
  for (std::size_t i = 0; i < std::min(reply.proposals.size(), kMostProposals); ++i) {
    const auto read = read_proposal(reply.proposals[i], space, trials, standard);
    if (read.point) must(space.contains(*read.point), "a proposal that was taken is legal", read.remark);
    must(read.point || !read.remark.empty(), "a proposal that was refused comes with the reason");
  }
}

// One reply to whatever is asked, and nothing after it.
class OneReply final : public HttpTransport {
 public:
  explicit OneReply(HttpReply reply) : reply_(std::move(reply)) {}
  std::int64_t start(HttpRequest) override {
    started_.push_back(++last_);
    return last_;
  }
  std::vector<std::pair<std::int64_t, HttpOutcome>> finished() override {
    std::vector<std::pair<std::int64_t, HttpOutcome>> ended;
    for (const std::int64_t id : std::exchange(started_, {}))
      ended.emplace_back(id, HttpOutcome{HttpFault::none, "", reply_});
    return ended;
  }

 private:
  HttpReply reply_;
  std::int64_t last_ = 0;
  std::vector<std::int64_t> started_;
};

void read_http(long status, std::string_view body) {
  double seconds = 0;
  const SecondsClock clock = [&seconds] { return seconds; };
  CallBudget budget({}, clock);
  HttpReply reply;
  reply.status = status;
  reply.content_type = "application/json";
  reply.body = body;
  const auto chat = endpoint_chat({.url = "https://model.example/v1", .key = "secret-key", .ca_file = ""},
                                  std::make_unique<OneReply>(reply), budget, clock, 1);
  chat->ask(1, {.model = "m", .system = "s", .user = "u"});
  bool answered = false;
  for (int turn = 0; turn < 20 && !answered; ++turn, seconds += 400) {
    for (const ChatAnswer& answer : chat->take({}, true)) {
      answered = true;
      must(answer.text || !answer.error.empty(), "a question that failed comes with the reason");
      must(answer.error.find("secret-key") == std::string::npos, "the key is never shown");
      if (answer.text) read_text(*answer.text);
    }
  }
  must(answered, "every question ends");
}

}  // namespace
}  // namespace attune

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace attune;
  const auto text = text_of(data, size);
  read_text(text);
  read_http(200, text);
  read_http(size > 0 && data[0] % 2 == 0 ? 400 : 429, text);
  return 0;
}
