// What must survive: several writers, kill -9, a full or failing disk, a file that someone deletes.
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tests/cache/cache_fixture.h"
#include "tests/cache/faulty_vfs.h"

namespace attune {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class DurabilityTest : public CacheTest {
 protected:
  // In a child process: opens the store, adds trials of that session and writes one byte for each that was
  // acknowledged. Exits 0 after `limit` trials (0: goes on until it is killed).
  pid_t start_writer(const std::string& session, int limit, int acknowledge_to) const {
    const pid_t child = fork();
    if (child != 0) return child;
    auto store = open_sqlite_store(database());
    if (!store) _exit(1);
    for (int i = 0; limit == 0 || i < limit; ++i) {
      Trial trial = ok_trial(10 + i, i);
      trial.session = session;
      if (!(*store)->add(trial)) _exit(2);
      if (acknowledge_to >= 0 && ::write(acknowledge_to, "+", 1) != 1) _exit(3);
    }
    store->reset();
    _exit(0);
  }

  static int exit_status(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
};

TEST_F(DurabilityTest, ProcessesMayWriteAtOnce) {
  const pid_t one = start_writer("one", 150, -1);  // both also race to make the file
  const pid_t two = start_writer("two", 150, -1);
  EXPECT_EQ(exit_status(one), 0);
  EXPECT_EQ(exit_status(two), 0);
  auto store = open();
  EXPECT_EQ(*store->count({.session = "one"}), 150);
  EXPECT_EQ(*store->count({.session = "two"}), 150);
}

TEST_F(DurabilityTest, ProcessesMayRaceToMakeTheFile) {
  for (int round = 0; round < 20; ++round) {
    std::filesystem::remove(database());
    std::vector<pid_t> writers;
    for (int i = 0; i < 4; ++i) writers.push_back(start_writer("s", 1, -1));
    for (const pid_t writer : writers) ASSERT_EQ(exit_status(writer), 0) << "round " << round;
    ASSERT_EQ(*open()->count({}), 4) << "round " << round;
  }
}

TEST_F(DurabilityTest, WhatWasAcknowledgedSurvivesKill9) {
  std::int64_t acknowledged = 0;
  for (int round = 0; round < 8; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t writer = start_writer("killed", 0, ends[1]);
    close(ends[1]);
    char byte = 0;
    for (int i = 0; i < 20 + 7 * round; ++i) {
      ASSERT_EQ(::read(ends[0], &byte, 1), 1);
      ++acknowledged;
    }
    kill(writer, SIGKILL);
    waitpid(writer, nullptr, 0);
    while (::read(ends[0], &byte, 1) == 1) ++acknowledged;
    close(ends[0]);
    const std::int64_t stored = *open()->count({});
    ASSERT_GE(stored, acknowledged);
    ASSERT_LE(stored, acknowledged + round + 1) << "a round leaves at most one trial unacknowledged";
  }
}

struct Fault {
  const char* what;
  int code;
  const char* message;
};
class FaultyDiskTest : public DurabilityTest, public testing::WithParamInterface<Fault> {};

TEST_P(FaultyDiskTest, SaysWhatToDoAndKeepsEarlierTrials) {
  FaultyDisk disk;
  auto store = open();
  for (int i = 0; i < 50; ++i) must_add(*store, ok_trial(10 + i, i));
  for (int after = 0; after < 3; ++after) {
    disk.plant(GetParam().code, after);
    Trial trial = ok_trial(5, 100 + after);
    usleep(25'000);  // past the burst, so that the commit syncs
    const auto status = store->add(trial);
    ASSERT_FALSE(status);
    EXPECT_THAT(status.error().message,
                AllOf(HasSubstr("the trial was not stored"), HasSubstr(GetParam().message),
                      HasSubstr("run the same command again")));
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
    disk.plant(0);
    EXPECT_EQ(*store->count({}), 50 + after);
    must_add(*store, ok_trial(20, 200 + after));  // space again: the same store goes on
  }
  store = open();
  EXPECT_EQ(*store->count({}), 53);
  EXPECT_EQ((*store->best({}))->timing->median_us, 10);
}

INSTANTIATE_TEST_SUITE_P(All, FaultyDiskTest,
                         testing::Values(Fault{"full", SQLITE_FULL, "the disk is full"},
                                         Fault{"write", SQLITE_IOERR_WRITE, "could not be read or written"}),
                         [](const auto& test) { return test.param.what; });

TEST_F(DurabilityTest, AFailedSyncIsNotAcknowledged) {
  FaultyDisk disk;
  auto store = open();
  must_add(*store, ok_trial(10));
  usleep(25'000);
  disk.plant(SQLITE_IOERR_FSYNC, 0);
  Trial trial = ok_trial(5, 1);
  const auto status = store->add(trial);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("check the disk"));
}

TEST_F(DurabilityTest, AFullDiskWhenTheFileIsMade) {
  FaultyDisk disk;
  disk.plant(SQLITE_FULL);
  EXPECT_THAT(open_error(), HasSubstr("the disk is full"));
  disk.plant(0);
  EXPECT_EQ(open_error(), "");
}

TEST_F(DurabilityTest, ADeletedFileIsNoticed) {
  auto store = open();
  must_add(*store, ok_trial(10));
  std::filesystem::remove(database());
  Trial trial = ok_trial(5, 1);
  auto status = store->add(trial);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("was deleted or replaced while it was open"));
  EXPECT_EQ(trial.id, 0);
  EXPECT_FALSE(std::filesystem::exists(database()));

  auto other = open();  // someone made a new one: still not the file that the first store has open
  must_add(*other, ok_trial(20));
  status = store->add(trial);
  ASSERT_FALSE(status);
  store.reset();
  EXPECT_EQ(*other->count({}), 1);
  other.reset();
  EXPECT_EQ(*open()->count({}), 1);
}

}  // namespace
}  // namespace attune
