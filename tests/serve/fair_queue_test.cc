#include "serve/fair_queue.h"

#include <gmock/gmock.h>

#include <vector>

namespace attune::serve {
namespace {

// Takes everything, each job having cost `seconds`.
std::vector<std::int64_t> drain(FairQueue& queue, const std::map<std::int64_t, std::string>& clients,
                                double seconds = 1) {
  std::vector<std::int64_t> order;
  while (const auto id = queue.next()) {
    order.push_back(*id);
    queue.done(clients.at(*id), seconds);
  }
  return order;
}

TEST(FairQueue, OneClientsJobsGoInTheOrderOfSubmission) {
  FairQueue queue;
  for (const std::int64_t id : {3, 1, 2}) queue.add(id, "a", 0);
  EXPECT_THAT(drain(queue, {{1, "a"}, {2, "a"}, {3, "a"}}), testing::ElementsAre(1, 2, 3));
}

TEST(FairQueue, AGreaterPriorityGoesFirst) {
  FairQueue queue;
  queue.add(1, "a", 0);
  queue.add(2, "a", 5);
  queue.add(3, "a", -5);
  EXPECT_THAT(drain(queue, {{1, "a"}, {2, "a"}, {3, "a"}}), testing::ElementsAre(2, 1, 3));
}

TEST(FairQueue, WhoSubmitsManyDoesNotKeepOutWhoSubmitsTwo) {
  FairQueue queue;
  std::map<std::int64_t, std::string> clients;
  for (std::int64_t id = 1; id <= 100; ++id) {
    clients[id] = id <= 98 ? "many" : "two";
    queue.add(id, clients[id], 0);
  }
  const auto order = drain(queue, clients);
  const auto place = [&](std::int64_t id) {
    return std::find(order.begin(), order.end(), id) - order.begin();
  };
  EXPECT_LE(place(99), 1);
  EXPECT_LE(place(100), 3);
}

TEST(FairQueue, TimeIsSharedNotJobs) {
  FairQueue queue;
  std::map<std::int64_t, std::string> clients;
  for (std::int64_t id = 1; id <= 40; ++id) {
    clients[id] = id % 2 == 0 ? "short" : "long";
    queue.add(id, clients[id], 0);
  }
  int shorts = 0, longs = 0;
  for (int i = 0; i < 22; ++i) {
    const auto id = *queue.next();
    const bool is_short = clients[id] == "short";
    (is_short ? shorts : longs) += 1;
    queue.done(clients[id], is_short ? 1 : 10);
  }
  EXPECT_GE(shorts, 8 * longs);
}

TEST(FairQueue, WhoWasAwayHasNotSavedUpTime) {
  FairQueue queue;
  std::map<std::int64_t, std::string> clients{{1, "late"}};
  queue.add(1, "late", 0);
  queue.done("late", 0);  // nothing of it runs: no effect
  EXPECT_EQ(queue.next(), 1);
  queue.done("late", 1);
  for (std::int64_t id = 10; id < 60; ++id) {
    clients[id] = "busy";
    queue.add(id, "busy", 0);
  }
  for (int i = 0; i < 30; ++i) queue.done(clients.at(*queue.next()), 10);
  for (std::int64_t id = 100; id < 140; ++id) {
    clients[id] = "late";
    queue.add(id, "late", 0);
  }
  int late = 0;
  for (int i = 0; i < 20; ++i) {
    const auto id = *queue.next();
    late += clients.at(id) == "late";
    queue.done(clients.at(id), 10);
  }
  EXPECT_GE(late, 9);
  EXPECT_LE(late, 12);
}

TEST(FairQueue, RunningJobsCountBeforeTheyEnd) {
  FairQueue queue;
  for (std::int64_t id = 1; id <= 4; ++id) queue.add(id, id <= 2 ? "a" : "b", 0);
  EXPECT_EQ(queue.next(), 1);
  EXPECT_EQ(queue.next(), 3);  // a's first has not ended, and yet b is next
}

TEST(FairQueue, WhatIsRemovedDoesNotCome) {
  FairQueue queue;
  queue.add(1, "a", 0);
  queue.add(2, "a", 0);
  EXPECT_TRUE(queue.remove(1));
  EXPECT_FALSE(queue.remove(1));
  EXPECT_EQ(queue.size(), 1U);
  EXPECT_EQ(queue.next(), 2);
  EXPECT_EQ(queue.next(), std::nullopt);
}

}  // namespace
}  // namespace attune::serve
