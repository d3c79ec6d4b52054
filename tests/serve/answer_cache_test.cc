#include "serve/answer_cache.h"

#include <gmock/gmock.h>

namespace attune::serve {
namespace {

using std::chrono::milliseconds;

class AnswerCacheTest : public testing::Test {
 protected:
  void keep(const std::string& body) { keep(body, cache_.ticket()); }
  void keep(const std::string& body, const AnswerCache::Ticket& ticket) {
    cache_.keep("?", std::make_shared<AnswerCache::Answer>(AnswerCache::Answer{body, "exact"}), ticket);
  }
  std::string body() {  // "" where nothing is known
    const auto found = cache_.find("?");
    return found.answer ? found.answer->body : "";
  }

  AnswerCache::Clock::time_point now_;
  AnswerCache cache_{[this] { return now_; }};
};

TEST_F(AnswerCacheTest, AFreshAnswerIsGivenAsItIs) {
  EXPECT_EQ(body(), "");
  keep("a");
  now_ += AnswerCache::kFresh;
  const auto found = cache_.find("?");
  EXPECT_EQ(found.answer->body, "a");
  EXPECT_FALSE(found.refresh);
  EXPECT_FALSE(cache_.find("another?").answer);
}

TEST_F(AnswerCacheTest, AnOlderOneIsGivenToAllWhileOneAsksAgain) {
  keep("a");
  now_ += AnswerCache::kFresh + milliseconds(1);
  EXPECT_TRUE(cache_.find("?").refresh);
  const auto ticket = cache_.ticket();
  for (int i = 0; i < 3; ++i) {
    const auto found = cache_.find("?");
    EXPECT_EQ(found.answer->body, "a");
    EXPECT_FALSE(found.refresh) << "one at a time";
  }
  keep("b", ticket);
  EXPECT_EQ(body(), "b");
  EXPECT_FALSE(cache_.find("?").refresh);
  now_ += AnswerCache::kFresh + milliseconds(1);
  EXPECT_TRUE(cache_.find("?").refresh) << "and again, when that is old";
}

TEST_F(AnswerCacheTest, NothingIsGivenThatIsOlderThanItsLife) {
  const auto asked = cache_.ticket();
  now_ += milliseconds(600);  // so long the database took: the answer is of when it was asked
  keep("a", asked);
  now_ += milliseconds(400);
  EXPECT_EQ(body(), "a");
  now_ += milliseconds(1);
  EXPECT_EQ(body(), "") << "even while somebody asks again";
}

TEST_F(AnswerCacheTest, WhoGetsNoAnswerLeavesItToTheNext) {
  keep("a");
  now_ += AnswerCache::kFresh + milliseconds(1);
  EXPECT_TRUE(cache_.find("?").refresh);
  cache_.give_up("?");
  const auto found = cache_.find("?");
  EXPECT_EQ(found.answer->body, "a");
  EXPECT_TRUE(found.refresh);
}

TEST_F(AnswerCacheTest, WhatWasAskedBeforeAClearIsNotKept) {
  keep("a");
  const auto ticket = cache_.ticket();
  cache_.clear();
  EXPECT_EQ(body(), "");
  keep("overtaken", ticket);
  EXPECT_EQ(body(), "");
  keep("b");
  EXPECT_EQ(body(), "b");
}

TEST_F(AnswerCacheTest, AnAnswerThatCameLateDoesNotReplaceALaterOne) {
  const auto early = cache_.ticket();
  now_ += milliseconds(1);
  keep("later");
  keep("early", early);
  EXPECT_EQ(body(), "later");
}

TEST_F(AnswerCacheTest, QuestionsAreForgottenRatherThanHeldWithoutEnd) {
  keep("a");
  for (std::size_t i = 0; i < AnswerCache::kMost; ++i)
    cache_.keep(std::to_string(i), std::make_shared<AnswerCache::Answer>(), cache_.ticket());
  EXPECT_EQ(body(), "");
}

}  // namespace
}  // namespace attune::serve
