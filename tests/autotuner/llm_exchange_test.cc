// Questions and answers as files.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "autotuner/llm/exchange_chat.h"

namespace attune {
namespace {

using nlohmann::json;
using testing::IsEmpty;

// ---- exchange ----

class Exchange : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("exchange-") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void open(CallLimits limits = {}) {
    budget_ = std::make_unique<CallBudget>(limits, [this] { return now_; });
    chat_ = *exchange_chat(folder_, *budget_, [this] { return now_; });
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }

  std::filesystem::path folder_;
  double now_ = 0;
  std::unique_ptr<CallBudget> budget_;
  std::unique_ptr<ChatSource> chat_;
};

TEST_F(Exchange, AQuestionIsAFileAndSoIsItsAnswer) {
  open();
  chat_->ask(1, {"", "the system", "the question"});
  const json request = json::parse(std::ifstream(folder_ / "request-0001.json"));
  EXPECT_EQ(request["messages"][1]["content"], "the question");
  EXPECT_EQ(request["answer_file"], "answer-0001.json");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "request-0001.md"));
  EXPECT_THAT(chat_->take({}, false), IsEmpty());
  write("answer-0001.json", R"({"proposals":[{"set":{"a":1}}],"model":"a person"})");
  const auto answers = chat_->take({}, false);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].model, "a person");
  chat_.reset();
  EXPECT_TRUE(std::filesystem::exists(folder_ / "ended"));
}

TEST_F(Exchange, AnAnswerThatIsBeingWrittenIsWaitedFor) {
  open();
  chat_->ask(1, {"", "s", "q"});
  const std::string whole = R"({"proposals":[{"set":{"a":1}},{"set":{"a":2}}]})";
  for (const std::size_t length : {std::size_t{0}, std::size_t{20}, std::size_t{32}}) {
    write("answer-0001.json", whole.substr(0, length));
    EXPECT_THAT(chat_->take({}, false), IsEmpty());
    now_ += 2;
    EXPECT_THAT(chat_->take({}, false), IsEmpty());
  }
  write("answer-0001.json", whole);
  EXPECT_EQ(chat_->take({}, false).size(), 1u);
}

TEST_F(Exchange, AnAnswerThatStaysCutIsTakenAsItIs) {
  open();
  chat_->ask(1, {"", "s", "q"});
  write("answer-0001.json", "no idea");
  EXPECT_THAT(chat_->take({}, false), IsEmpty());
  now_ += 4;
  const auto answers = chat_->take({}, false);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].text, "no idea");
}

TEST_F(Exchange, OldAnswersAreNotTakenForNewOnes) {
  write("answer-0007.json", R"({"proposals":[]})");
  open();
  chat_->ask(1, {"", "s", "q"});
  EXPECT_TRUE(std::filesystem::exists(folder_ / "request-0008.json"));
  EXPECT_THAT(chat_->take({}, false), IsEmpty());
}

TEST_F(Exchange, AHugeAnswerIsRefusedUnread) {
  open();
  chat_->ask(1, {"", "s", "q"});
  std::ofstream(folder_ / "answer-0001.json").close();
  std::filesystem::resize_file(folder_ / "answer-0001.json", 50 << 20);
  const auto answers = chat_->take({}, false);
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_FALSE(answers[0].text);
}

TEST_F(Exchange, AFolderThatCannotBeMadeIsAnError) {
  write("file", "");
  CallBudget budget({}, [] { return 0.0; });
  EXPECT_FALSE(exchange_chat(folder_ / "file" / "folder", budget, [] { return 0.0; }));
}

}  // namespace
}  // namespace attune
