// Which host tunes what: leases, their expiry by the server's clock, and that an old holder's word does not
// count.
#include "cache/claims.h"

#include <mutex>
#include <set>
#include <thread>

#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::HasSubstr;

class ClaimsTest : public CacheTest {
 protected:
  void SetUp() override {
    if (!server_) GTEST_SKIP() << "ATTUNE_TEST_POSTGRES is not set (tests/postgres/server.py run ...)";
    CacheTest::SetUp();
  }

  static ClaimSubject subject(std::int64_t batch, double weight = 1, std::int64_t max_trials = 20) {
    Shape shape = dense_shape();
    shape.batch = batch;
    return {.shape = shape,
            .gpu_name = "H100",
            .arch = "sm_90a",
            .policy = {},
            .templates = "portable aaaa",
            .weight = weight,
            .max_trials = max_trials};
  }

  std::unique_ptr<ClaimBoard> board(const std::vector<ClaimSubject>& subjects) const {
    auto opened = open_claims(location());
    EXPECT_TRUE(opened) << opened.error().message;
    const auto status = (*opened)->enlist(subjects);
    EXPECT_TRUE(status) << status.error().message;
    return *std::move(opened);
  }

  static std::optional<Lease> take(ClaimBoard& board, const std::string& holder = "a") {
    const auto lease = board.take(holder, 3600);
    EXPECT_TRUE(lease) << lease.error().message;
    return lease ? *lease : std::nullopt;
  }

  // As if the holders had been silent for longer than their leases.
  void let_all_expire() const {
    TestServer::run_at(location(),
                       "UPDATE claims SET expires_at = now() - interval '1 second' WHERE state = 'held'");
  }

  static ClaimStatus only(const ClaimBoard& board) {
    const auto all = board.all();
    EXPECT_TRUE(all) << all.error().message;
    EXPECT_EQ(all->size(), 1U);
    return all->front();
  }
};

TEST_F(ClaimsTest, EachSubjectGoesToOneHost) {
  const auto a = board({subject(1), subject(2)}), b = board({subject(2), subject(1)});
  const auto first = take(*a), second = take(*b, "b");
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->subject, 0U);
  EXPECT_EQ(second->subject, 0U) << "its own number of the other shape";
  EXPECT_NE(first->claim, second->claim);
  EXPECT_FALSE(take(*a));
  EXPECT_FALSE(take(*b));
  EXPECT_EQ(a->counts()->held, 2);
  EXPECT_TRUE(*a->finish(*first));
  EXPECT_FALSE(take(*b)) << "done is done";
  EXPECT_EQ(a->counts()->done, 1);
}

TEST_F(ClaimsTest, TheHeaviestFirstAndNoneTwiceBeforeTheOthers) {
  const auto host = board({subject(1, 1), subject(2, 5), subject(3, 3)});
  std::vector<std::size_t> order;
  for (int i = 0; i < 4; ++i) {
    const auto lease = take(*host);
    ASSERT_TRUE(lease);
    order.push_back(lease->subject);
    EXPECT_TRUE(*host->give_back(*lease, "out of time"));
  }
  EXPECT_THAT(order, testing::ElementsAre(1, 2, 0, 1));
}

TEST_F(ClaimsTest, AHostOnlyGetsWhatItEnlisted) {
  const auto both = board({subject(1), subject(2)}), one = board({subject(2)});
  EXPECT_EQ(one->counts()->open, 1);
  const auto lease = take(*one);
  ASSERT_TRUE(lease);
  EXPECT_FALSE(take(*one)) << "the other shape is not in its file";
  EXPECT_TRUE(take(*both));
}

TEST_F(ClaimsTest, ALeaseThatRanOutIsTakenOverAndTheOldHoldersWordDoesNotCount) {
  const auto a = board({subject(1)}), b = board({subject(1)});
  const auto old = take(*a, "host-a");
  EXPECT_FALSE(take(*b, "host-b"));
  let_all_expire();
  EXPECT_EQ(only(*b).state, "expired");
  const auto taken = take(*b, "host-b");
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->taken_from, "host-a");
  EXPECT_GT(taken->token, old->token);
  EXPECT_FALSE(*a->renew(*old, 3600));
  EXPECT_FALSE(*a->finish(*old));
  EXPECT_FALSE(*a->give_back(*old, "x"));
  EXPECT_FALSE(*a->fail_it(*old, "x"));
  EXPECT_EQ(only(*b).holder, "host-b");
  EXPECT_TRUE(*b->finish(*taken));
  EXPECT_FALSE(*b->finish(*taken)) << "once";
  EXPECT_EQ(only(*b).times_done, 1);
  EXPECT_EQ(only(*b).times_lost, 1);
}

TEST_F(ClaimsTest, ALeaseThatRanOutAndThatNobodyTookIsStillItsHolders) {
  const auto host = board({subject(1)});
  const auto lease = take(*host);
  let_all_expire();
  EXPECT_TRUE(*host->renew(*lease, 3600));
  EXPECT_EQ(only(*host).state, "held");
  EXPECT_GT(only(*host).seconds_left, 3000);
  EXPECT_TRUE(*host->finish(*lease));
}

TEST_F(ClaimsTest, WhatFailsEverywhereIsGivenUpUntilItIsOpenedAgain) {
  const auto host = board({subject(1)});
  for (int i = 0; i < ClaimBoard::kMostFailures; ++i) {
    const auto lease = take(*host);
    ASSERT_TRUE(lease) << i;
    EXPECT_TRUE(*host->fail_it(*lease, "no memory for it"));
  }
  EXPECT_FALSE(take(*host));
  EXPECT_EQ(host->counts()->given_up, 1);
  EXPECT_THAT(only(*host).message, HasSubstr("no memory"));
  (void)board({subject(1)});
  EXPECT_FALSE(take(*host)) << "to be enlisted again is no reason";
  EXPECT_EQ(*host->reopen_given_up(), 1);
  EXPECT_TRUE(take(*host));
}

TEST_F(ClaimsTest, WhatEveryHolderGoesSilentOnIsGivenUp) {
  const auto host = board({subject(1)});
  for (int i = 0; i < ClaimBoard::kMostFailures; ++i) {
    ASSERT_TRUE(take(*host)) << i;
    let_all_expire();
  }
  EXPECT_FALSE(take(*host));
  EXPECT_EQ(only(*host).state, "given up");
  EXPECT_THAT(only(*host).message, HasSubstr("ran out, the last of 5"));
}

TEST_F(ClaimsTest, DoneIsDoneUntilMoreTrialsAreWanted) {
  const auto host = board({subject(1, 1, 20)});
  EXPECT_TRUE(*host->finish(*take(*host)));
  EXPECT_FALSE(take(*board({subject(1, 1, 20)})));
  EXPECT_FALSE(take(*board({subject(1, 1, 10)})));
  const auto more = board({subject(1, 1, 0)});  // no limit
  const auto lease = take(*more);
  ASSERT_TRUE(lease);
  EXPECT_TRUE(*more->finish(*lease));
  EXPECT_EQ(only(*more).subject.max_trials, 0);
  EXPECT_FALSE(take(*board({subject(1, 1, 500)})));
}

TEST_F(ClaimsTest, OtherGpusTemplatesAndReplaysAreOtherWork) {
  std::vector<ClaimSubject> subjects(4, subject(1));
  subjects[1].gpu_name = "H200";
  subjects[2].templates = "portable bbbb";
  subjects[3].replayed = true;
  const auto host = board(subjects);
  std::set<std::size_t> taken;
  while (const auto lease = take(*host)) taken.insert(lease->subject);
  EXPECT_EQ(taken.size(), 4U);
}

TEST_F(ClaimsTest, ARowThatSomeoneHasLockedIsPassedOver) {
  const auto host = board({subject(1, 5), subject(2, 1)});
  const auto other = PostgresConnection::open(location(), {});
  ASSERT_TRUE((*other)->run_all("BEGIN; SELECT * FROM claims ORDER BY weight DESC LIMIT 1 FOR UPDATE"));
  const auto lease = take(*host);  // would wait for half a minute, and fail
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->subject, 1U);
}

TEST_F(ClaimsTest, ManyHostsAtOnceTakeEachSubjectOnce) {
  std::vector<ClaimSubject> subjects;
  for (int batch = 1; batch <= 40; ++batch) subjects.push_back(subject(batch));
  (void)location();  // the schema is there before the threads are
  std::mutex mutex;
  std::vector<std::size_t> finished;
  std::vector<std::jthread> hosts;
  for (int i = 0; i < 4; ++i) {
    hosts.emplace_back([&] {
      const auto own = board(subjects);
      while (const auto lease = take(*own)) {
        EXPECT_TRUE(*own->renew(*lease, 60));
        EXPECT_TRUE(*own->finish(*lease));
        const std::lock_guard lock(mutex);
        finished.push_back(lease->subject);
      }
    });
  }
  hosts.clear();
  EXPECT_EQ(finished.size(), 40U);
  EXPECT_EQ(std::set(finished.begin(), finished.end()).size(), 40U);
}

TEST_F(ClaimsTest, AnImportDoesNotKeepLeasesFromBeingRenewed) {
  const auto host = board({subject(1)});
  const auto lease = take(*host);
  auto store = open();
  int next = 0;
  const auto added = store->add_new([&]() -> Result<std::optional<Trial>> {
    if (next == 1) {  // in the middle of the import's transaction
      EXPECT_TRUE(*host->renew(*lease, 3600));
    }
    if (next == 2) return std::optional<Trial>();
    const int config = next++;
    return std::optional<Trial>(ok_trial(10, config));
  });
  EXPECT_TRUE(added) << added.error().message;
}

TEST(Claims, AFileIsNoPlaceForThem) {
  EXPECT_THAT(open_claims("attune.db").error().message, HasSubstr("PostgreSQL server alone"));
}

}  // namespace
}  // namespace attune
