// Whole searches guided by a model made here, live and from a transcript.
#include <gmock/gmock.h>

#include <cmath>
#include <deque>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "autotuner/llm/chat_session.h"
#include "autotuner/llm/guide.h"
#include "autotuner/llm/transcript.h"
#include "autotuner/recorded_device.h"
#include "autotuner/strategy.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// ---- a whole search, against a model made here ----

// Answers when the test says so, with what the test says.
class ScriptedModel final : public ChatSource {
 public:
  struct State {
    std::vector<ChatRequest> questions;
    std::deque<std::int64_t> unanswered;
    std::vector<ChatAnswer> ready;
    std::function<std::string(const ChatRequest&)> reply;
    bool at_once = false;
  };
  explicit ScriptedModel(State& state) : state_(state) {}
  std::string name() const override { return "scripted"; }
  void ask(std::int64_t ticket, const ChatRequest& request) override {
    state_.questions.push_back(request);
    state_.unanswered.push_back(ticket);
    if (state_.at_once) answer(state_);
  }
  std::vector<ChatAnswer> take(SearchPosition, bool) override { return std::exchange(state_.ready, {}); }

  static void answer(State& state) {
    ChatAnswer answer;
    answer.ticket = state.unanswered.front();
    answer.model = "scripted";
    answer.text = state.reply(state.questions.back());
    state.unanswered.pop_front();
    state.ready.push_back(std::move(answer));
  }

 private:
  State& state_;
};

// Sixteen configs at random, by axis name.
std::string random_reply(const Space& space, Rng& rng) {
  json proposals = json::array();
  for (int i = 0; i < 16; ++i) {
    json set;
    for (const Axis& axis : space.axes())
      set[axis.name] = to_json(axis.values[uniform_below(rng, axis.values.size())]);
    proposals.push_back({{"set", set}});
  }
  return json{{"proposals", proposals}, {"notes", "so far so good"}}.dump();
}

Space wide_space() {
  SpaceDefinition definition;
  for (int i = 0; i < 6; ++i) {
    Axis axis{.name = "a" + std::to_string(i),
              .pointer = "/a" + std::to_string(i),
              .values = {},
              .help = "an axis"};
    for (std::int64_t v = 0; v < 8; ++v) axis.values.emplace_back(v);
    definition.axes.push_back(std::move(axis));
  }
  return Space(definition);
}

Observation time_of(const Point& point) {
  double time = 100;
  for (std::size_t i = 0; i < point.size(); ++i) time += 10.0 * std::abs(point[i] - static_cast<int>(i));
  if (PointHash()(point) % 5 == 0)
    return {point,
            Outcome::spilled,
            std::nullopt,
            0,
            {.registers = 255,
             .spill_bytes = 900,
             .smem_bytes = 0,
             .threads = 128,
             .message = "900 B of registers spilled"}};
  return {point,
          Outcome::ok,
          time,
          0,
          {.registers = 120, .spill_bytes = 0, .smem_bytes = 40000, .threads = 128, .message = ""}};
}

class LlmSearch : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("llm-") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    model_.reply = [this](const ChatRequest&) { return random_reply(space_, rng_); };
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::shared_ptr<ChatSession> session(std::unique_ptr<ChatSource> source, ChatSettings settings = {},
                                       CallLimits limits = {}) {
    if (settings.models.empty()) settings.models = {{"m", 1}};
    return std::make_shared<ChatSession>(
        std::make_unique<CallBudget>(limits, [this] { return now_; }), std::move(source), settings,
        [this] { return now_; }, [this](const std::string& notice) { notices_.push_back(notice); });
  }
  std::shared_ptr<ChatSession> scripted(ChatSettings settings = {}) {
    return session(std::make_unique<ScriptedModel>(model_), std::move(settings));
  }

  std::unique_ptr<Strategy> strategy(std::shared_ptr<ChatSession> session, std::uint64_t seed = 3,
                                     std::int64_t max_trials = 0) {
    LlmGuide guide{{{}, *nominal_facts("sm_90a"), "test", max_trials}, std::move(session)};
    auto made =
        make_strategy("llm", space_, seed, {space_.at(17)}, static_cast<std::size_t>(max_trials), &guide);
    return *std::move(made);
  }

  // The tune loop's rule, with a hook after each step. Ends the test if the search stands still without
  // cause.
  std::vector<Point> search(Strategy& strategy, std::size_t trials, const std::function<void()>& step = {}) {
    constexpr std::size_t kWindow = 16;
    std::vector<Point> seen;
    std::deque<Point> outstanding;
    std::size_t still = 0;
    while (seen.size() < trials) {
      const std::size_t room = std::min(kWindow, trials - seen.size()) - outstanding.size();
      const auto points = strategy.propose(room);
      if (points.size() < room && !strategy.awaiting() && outstanding.empty()) break;
      short_ += points.size() < room ? 1 : 0;
      outstanding.insert(outstanding.end(), points.begin(), points.end());
      if (step) step();
      if (outstanding.empty()) {
        if (++still > 1000) ADD_FAILURE() << "the search stands still";
        if (still > 1000) break;
        continue;
      }
      still = 0;
      strategy.observe(time_of(outstanding.front()));
      seen.push_back(outstanding.front());
      outstanding.pop_front();
    }
    return seen;
  }

  Space space_ = wide_space();
  Rng rng_{5};
  double now_ = 0;
  ScriptedModel::State model_;
  std::vector<std::string> notices_;
  std::size_t short_ = 0;  // calls of propose() that gave less than asked
  std::filesystem::path folder_;
};

TEST_F(LlmSearch, IsNeverIdleForACallThatNeverComes) {
  const auto asked = scripted();
  EXPECT_EQ(search(*strategy(asked), 100).size(), 100u);
  EXPECT_EQ(short_, 0u);
  EXPECT_LE(model_.questions.size(), 2u);  // as many as may be under way
}

TEST_F(LlmSearch, AHundredProposalsCostAtMostTenCalls) {
  model_.at_once = true;
  const auto asked = scripted();
  EXPECT_EQ(search(*strategy(asked), 100).size(), 100u);
  EXPECT_EQ(short_, 0u);
  EXPECT_LE(model_.questions.size(), 10u);
  EXPECT_GT(asked->totals().proposals, 60);
}

TEST_F(LlmSearch, SlowAnswersAreTakenUpWhenTheyCome) {
  int steps = 0;
  const auto asked = scripted();
  const auto seen = search(*strategy(asked), 120, [&] {
    if (++steps % 20 == 0 && !model_.unanswered.empty()) ScriptedModel::answer(model_);
  });
  EXPECT_EQ(short_, 0u);
  EXPECT_EQ(std::set<Point>(seen.begin(), seen.end()).size(), 120u);
  EXPECT_GT(asked->totals().proposals, 30);
}

TEST_F(LlmSearch, WithPatienceTheModelsProposalsComeFirst) {
  int steps = 0;
  const auto asked = scripted({.wait_seconds = 60});
  const auto seen = search(*strategy(asked), 50, [&] {
    if (++steps % 10 == 0 && !model_.unanswered.empty()) ScriptedModel::answer(model_);
  });
  EXPECT_EQ(seen.size(), 50u);
  EXPECT_GE(asked->totals().proposals, 48);  // all but the start config and what repeats
}

TEST_F(LlmSearch, PatienceEnds) {
  const auto asked = scripted({.wait_seconds = 60});
  EXPECT_EQ(search(*strategy(asked), 50, [&] { now_ += 1; }).size(), 50u);
  EXPECT_GE(now_, 60);
}

TEST_F(LlmSearch, FailuresResultsAndNotesAreFedBack) {
  model_.at_once = true;
  search(*strategy(scripted()), 60);
  ASSERT_GE(model_.questions.size(), 3u);
  EXPECT_THAT(model_.questions[0].system, HasSubstr("a3: 0, 1, 2, 3, 4, 5, 6, 7 | an axis"));
  EXPECT_THAT(model_.questions[0].user, HasSubstr("Trials so far: 0"));
  const std::string& later = model_.questions[2].user;
  EXPECT_THAT(later, HasSubstr("Best: #"));
  EXPECT_THAT(later, HasSubstr("spilled: 900 B of registers spilled"));
  EXPECT_THAT(later, HasSubstr("120 regs, 39 KiB smem, 128 threads, 4 CTAs/SM"));
  EXPECT_THAT(later, HasSubstr("Your notes: so far so good"));
  EXPECT_LT(later.size(), 10000u);
}

TEST_F(LlmSearch, DuplicatesAndNonsenseAreRefusedAndSaid) {
  model_.at_once = true;
  model_.reply = [](const ChatRequest&) {
    return R"({"proposals":[{"set":{"a0":1}},{"set":{"a0":1}},{"set":{"a9":1}},{"set":{"a1":99}},"x"]})";
  };
  const auto asked = scripted();
  search(*strategy(asked), 40);
  ASSERT_GE(model_.questions.size(), 2u);
  EXPECT_THAT(model_.questions[1].user, HasSubstr("tried or under way already"));
  EXPECT_THAT(model_.questions[1].user, HasSubstr("there is no axis 'a9'"));
  EXPECT_THAT(model_.questions[1].user, HasSubstr("a1 has no value 99"));
}

TEST_F(LlmSearch, AModelOfNoUseIsGivenUpAndSaidOnce) {
  model_.at_once = true;
  model_.reply = [](const ChatRequest&) { return "I would rather talk about the weather."; };
  const auto asked = scripted();
  EXPECT_EQ(search(*strategy(asked), 200).size(), 200u);
  EXPECT_EQ(model_.questions.size(), 3u);
  ASSERT_EQ(notices_.size(), 1u);
  EXPECT_EQ(notices_[0], "LLM: the answers hold no proposals; the search goes on without it");
}

TEST_F(LlmSearch, LimitsEndTheQuestions) {
  model_.at_once = true;
  const auto asked =
      session(std::make_unique<ScriptedModel>(model_), {}, {.max_calls = 50, .max_seconds = 10});
  EXPECT_EQ(search(*strategy(asked), 100, [&] { now_ += 1; }).size(), 100u);
  EXPECT_EQ(short_, 0u);
}

TEST_F(LlmSearch, ModelsAreDrawnByWeight) {
  model_.at_once = true;
  const auto asked = scripted({.models = {{"often", 9}, {"seldom", 1}}, .batch = 1});
  search(*strategy(asked), 300);
  const auto often = std::count_if(model_.questions.begin(), model_.questions.end(),
                                   [](const ChatRequest& request) { return request.model == "often"; });
  EXPECT_GT(often, 0.75 * static_cast<double>(model_.questions.size()));
  EXPECT_LT(often, static_cast<std::ptrdiff_t>(model_.questions.size()));
}

class LlmReplay : public LlmSearch, public testing::WithParamInterface<double> {};
INSTANTIATE_TEST_SUITE_P(Patience, LlmReplay, testing::Values(0.0, 5.0, 60.0));

TEST_P(LlmReplay, ATranscriptGivesTheSameSearchWithoutTheModel) {
  const std::filesystem::path file = folder_ / "t.jsonl";
  int steps = 0;
  std::vector<Point> recorded;
  {
    const auto asked = scripted({.wait_seconds = GetParam()});
    auto writer = TranscriptWriter::create(file, {.shape = {},
                                                  .template_name = "test",
                                                  .template_hash = "h",
                                                  .device = "d",
                                                  .source = "scripted",
                                                  .note = "",
                                                  .created_at = "now",
                                                  .search = {}});
    ASSERT_TRUE(writer) << writer.error().message;
    asked->record_to(*std::move(writer));
    recorded = search(*strategy(asked, 3, 90), 90, [&] {
      now_ += 0.5;
      if (++steps % 13 == 0 && !model_.unanswered.empty()) ScriptedModel::answer(model_);
    });
  }
  auto replay = replay_chat(file);
  ASSERT_TRUE(replay) << replay.error().message;
  const auto again = session(std::move(replay->source));
  EXPECT_EQ(search(*strategy(again, 3, 90), 90), recorded);
  EXPECT_EQ(again->remark(), "");
  EXPECT_GT(again->totals().proposals, 10);

  // Another seed fills the time with other configs and so asks other questions: it uses the answers all the
  // same, and says so. With enough patience there is nothing to fill.
  const auto other = session(std::move(replay_chat(file)->source));
  EXPECT_EQ(search(*strategy(other, 4, 90), 90).size(), 90u);
  if (GetParam() == 0) {
    EXPECT_THAT(other->remark(), HasSubstr("were given to other questions"));
  }
}

TEST_F(LlmSearch, ATranscriptIsNotOverwrittenAndDamageIsSaid) {
  const std::filesystem::path file = folder_ / "t.jsonl";
  const TranscriptInfo info{.shape = {},
                            .template_name = "test",
                            .template_hash = "h",
                            .device = "d",
                            .source = "s",
                            .note = "n",
                            .created_at = "now",
                            .search = {}};
  ASSERT_TRUE(TranscriptWriter::create(file, info));
  const auto again = TranscriptWriter::create(file, info);
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, HasSubstr("exists"));
  EXPECT_EQ(replay_chat(file)->info.note, "n");
  std::ofstream(file, std::ios::app) << "{\"event\":\"ask\",\"cut";
  EXPECT_TRUE(replay_chat(file));  // a kill's last line
  std::ofstream(file, std::ios::app) << "\n";
  EXPECT_THAT(replay_chat(file).error().message, HasSubstr("line 2: not a JSON object"));
  std::ofstream(folder_ / "other.jsonl") << "{\"format\":\"else\"}\n";
  EXPECT_THAT(replay_chat(folder_ / "other.jsonl").error().message, HasSubstr("no transcript"));
  EXPECT_FALSE(replay_chat(folder_ / "absent.jsonl"));
}

}  // namespace
}  // namespace attune
