// Shards made one database, and the wanted list.
#include "cache/merge.h"

#include <sys/wait.h>
#include <unistd.h>

#include <sstream>
#include <vector>

#include "cache/transfer.h"
#include "cache/wanted.h"
#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::HasSubstr;

class MergeTest : public CacheTest {
 protected:
  std::filesystem::path shard(const std::string& name) const { return folder_ / name; }
  std::unique_ptr<TrialStore> open_shard(const std::string& name) const { return open_at(name); }

  MergeSummary must_merge(TrialStore& to, const std::string& from) const {
    const auto merged = merge_from(to, location(), from);
    EXPECT_TRUE(merged) << merged.error().message;
    return merged ? *merged : MergeSummary{};
  }

  static Wanted asked(std::int64_t count, const std::string& at = "2026-11-22T01:00:00Z") {
    return {.shape = dense_shape(),
            .gpu_name = "H100",
            .arch = "sm_90a",
            .count = count,
            .first_at = at,
            .last_at = at,
            .origin = ""};
  }
};

TEST_F(MergeTest, RawTrialsArriveAndTheRecordIsWorkedOutAnew) {
  Trial final_round = ok_trial(12, 3);
  final_round.final_round = true;
  {
    auto one = open_shard("1.db");
    must_add(*one, ok_trial(10, 1));
    must_add(*one, failed_trial(Outcome::launch_fault, 2));
    auto two = open_shard("2.db");
    must_add(*two, final_round);
    must_add(*two, ok_trial(11, 4));
  }
  auto all = open();
  EXPECT_EQ(must_merge(*all, location("1.db")).added, 2);
  EXPECT_EQ((*all->best({}))->timing->median_us, 10);
  EXPECT_EQ(must_merge(*all, location("2.db")).added, 2);
  EXPECT_EQ(*all->count({}), 4) << "failures and losers too";
  EXPECT_EQ((*all->best({}))->timing->median_us, 12)
      << "a final round outranks a search, whichever shard it is of";
}

TEST_F(MergeTest, MergingTwiceIsMergingOnce) {
  {
    auto one = open_shard("1.db");
    for (int config = 0; config < 3; ++config) must_add(*one, ok_trial(10 + config, config));
    ASSERT_TRUE(one->want(asked(5)));
  }
  auto all = open();
  EXPECT_EQ(must_merge(*all, location("1.db")).added, 3);
  const auto again = must_merge(*all, location("1.db"));
  EXPECT_EQ(again.read, 3);
  EXPECT_EQ(again.added, 0);
  EXPECT_EQ(*all->count({}), 3);
  EXPECT_EQ(joined(*all->wanted()).front().count, 5);
}

TEST_F(MergeTest, CountsOfSeveralDatabasesAddUpAndStayTheirOwn) {
  {
    ASSERT_TRUE(open_shard("1.db")->want(asked(2, "2026-11-20T00:00:00Z")));
    ASSERT_TRUE(open_shard("2.db")->want(asked(3, "2026-11-21T00:00:00Z")));
  }
  auto all = open();
  ASSERT_TRUE(all->want(asked(1)));
  must_merge(*all, location("1.db"));
  must_merge(*all, location("2.db"));
  ASSERT_TRUE(open_shard("1.db")->want(asked(4)));  // the shard goes on counting
  must_merge(*all, location("1.db"));
  const auto wanted = joined(*all->wanted());
  ASSERT_EQ(wanted.size(), 1U);
  EXPECT_EQ(wanted[0].count, 1 + 6 + 3);
  EXPECT_EQ(wanted[0].first_at, "2026-11-20T00:00:00Z");
  EXPECT_EQ(wanted[0].last_at, "2026-11-22T01:00:00Z");
}

TEST_F(MergeTest, AnExportIsMergedToo) {
  auto one = open_shard("1.db");
  must_add(*one, ok_trial(10));
  std::ostringstream text;
  ASSERT_TRUE(export_trials(*one, {}, text, "out"));
  write_file(shard("1.jsonl"), text.str());
  auto all = open();
  EXPECT_EQ(must_merge(*all, shard("1.jsonl")).added, 1);
  EXPECT_EQ(must_merge(*all, location("1.db")).added, 0) << "the same trial either way";
}

TEST_F(MergeTest, WhatCannotBeMergedIsSaidInOneLine) {
  auto all = open();
  must_add(*all, ok_trial(10));
  write_file(shard("letter.db"), std::string(200, 'x'));
  EXPECT_THAT(merge_from(*all, location(), shard("letter.db")).error().message, HasSubstr("letter.db"));
  EXPECT_THAT(merge_from(*all, location(), shard("none.db")).error().message, HasSubstr("cannot read"));
  EXPECT_THAT(merge_from(*all, location(), location()).error().message, HasSubstr("merged into"));
  EXPECT_EQ(*all->count({}), 1);
}

TEST_F(MergeTest, AWantedShapeIsCounted) {
  auto store = open();
  ASSERT_TRUE(store->want(asked(1)));
  ASSERT_TRUE(store->want(asked(2)));
  Wanted other = asked(7);
  other.gpu_name = "H200";
  ASSERT_TRUE(store->want(other));
  const auto wanted = store->wanted();
  ASSERT_TRUE(wanted);
  ASSERT_EQ(wanted->size(), 2U);
  EXPECT_EQ(wanted->at(0).gpu_name, "H200") << "the most often asked for first";
  EXPECT_EQ(wanted->at(1).count, 3);
  EXPECT_EQ(wanted->at(1).shape, dense_shape());
  EXPECT_FALSE(store->want(asked(0)));
  EXPECT_FALSE(open({.read_only = true})->want(asked(1)));
}

TEST_F(MergeTest, CountsOfProcessesThatWantAShapeAtOnceAddUp) {
  constexpr int kProcesses = 4, kTimes = 10;
  open();
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    children.push_back(fork());
    if (children.back() != 0) continue;
    auto store = open();
    int written = 0;
    while (written < kTimes && store->want(asked(1))) ++written;
    _exit(written == kTimes ? 0 : 1);
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_EQ(open()->wanted()->at(0).count, kProcesses * kTimes);
}

}  // namespace
}  // namespace attune
