// Opening: what is made, migrated, refused; what is refused stays as it was, byte for byte.
#include <sys/wait.h>
#include <unistd.h>

#include "cache/job_store.h"
#include "cache/maintenance.h"
#include "cache/schema.h"
#include "embedded/cache_fixtures.h"
#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class DatabaseTest : public CacheTest {
 protected:
  // A closed database with that many trials, in one file (its WAL is folded in).
  void make_database(int trials) const {
    auto store = open();
    for (int i = 0; i < trials; ++i) must_add(*store, ok_trial(10 + i, i));
  }

  void make_version_1() const { run_sql(database(), std::string(cache_fixtures()[0].contents)); }
  void make_version_3() const { run_sql(database(), std::string(cache_fixtures()[1].contents)); }
  void make_version_4() const { run_sql(database(), std::string(cache_fixtures()[2].contents)); }
  void make_version_5() const { run_sql(database(), std::string(cache_fixtures()[3].contents)); }

  void expect_refused(const std::string& why) const {
    const std::string before = read_file(database());
    for (const bool read_only : {false, true}) {
      EXPECT_THAT(open_error({.read_only = read_only}),
                  AllOf(HasSubstr(database().string()), HasSubstr(why)));
    }
    EXPECT_EQ(read_file(database()), before);
  }

  // The error of opening as a user without privileges: root may write everywhere.
  std::string open_error_as_nobody(const SqliteOptions& options) const {
    int ends[2];
    if (pipe(ends) != 0) return "pipe failed";
    const pid_t child = fork();
    if (child == 0) {
      if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
      auto store = open_sqlite_store(database(), options);
      std::string said = store ? fmt::format("opened: {}", (*store)->count({}) ? *(*store)->count({}) : -1)
                               : store.error().message;
      _exit(::write(ends[1], said.data(), said.size()) < 0 ? 3 : 0);
    }
    close(ends[1]);
    std::string said;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;)
      said.append(buffer, static_cast<std::size_t>(n));
    close(ends[0]);
    waitpid(child, nullptr, 0);
    return said;
  }
};

TEST_F(DatabaseTest, MakesTheFileAndItsFolder) {
  const auto deep = folder_ / "a" / "b" / "attune.db";
  auto store = open_sqlite_store(deep);
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_EQ(*(*store)->count({}), 0);
  EXPECT_TRUE(std::filesystem::exists(deep));
}

TEST_F(DatabaseTest, AnEmptyFileIsANewDatabase) {
  write_file(database(), "");
  auto store = open();
  must_add(*store, ok_trial(1));
  EXPECT_EQ(*store->count({}), 1);
}

TEST_F(DatabaseTest, OurMarkIsInTheHeader) {
  make_database(1);
  const std::string header = read_file(database()).substr(0, 100);
  EXPECT_EQ(header.substr(68, 4), "Atun");
  EXPECT_EQ(header[63], kSchemaVersion);
}

TEST_F(DatabaseTest, RefusesWhatIsNotSqlite) {
  for (const auto* text : {"not a database", "{\"format\":\"attune-trials\",\"version\":1}\n"}) {
    write_file(database(), text);
    expect_refused("is not a SQLite database");
    write_file(database(), text + std::string(8192, 'x'));
    expect_refused("is not a SQLite database");
  }
}

TEST_F(DatabaseTest, RefusesAnotherApplicationsDatabase) {
  run_sql(database(), "CREATE TABLE bookmarks (url TEXT)");
  expect_refused("belongs to another application");
}

TEST_F(DatabaseTest, RefusesANewerSchema) {
  make_database(1);
  run_sql(database(), "PRAGMA user_version = 99");
  expect_refused("has schema version 99");
}

TEST_F(DatabaseTest, RefusesANewerSchemaThatIsStillInTheWal) {
  make_database(1);
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &other), SQLITE_OK);
  sqlite3_exec(other, "PRAGMA user_version = 99", nullptr, nullptr, nullptr);
  expect_refused("has schema version 99");
  sqlite3_close(other);
}

TEST_F(DatabaseTest, RefusesAFolder) {
  std::filesystem::create_directory(database());
  EXPECT_THAT(open_error(), HasSubstr("is not a regular file"));
}

TEST_F(DatabaseTest, SaysWhenTheFolderCannotBeMade) {
  write_file(folder_ / "file", "");
  auto store = open_sqlite_store(folder_ / "file" / "attune.db");
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().message, HasSubstr("--db"));
}

// Damage anywhere but in the header's marks: each page in turn, and a file cut short.
TEST_F(DatabaseTest, RefusesToWriteToADamagedFile) {
  make_database(200);
  const std::string good = read_file(database());
  const std::size_t pages = good.size() / 4096;
  ASSERT_GT(pages, 10U);
  int refused = 0;
  for (std::size_t page = 1; page < pages; ++page) {
    std::string bad = good;
    for (std::size_t i = 0; i < 64; ++i)
      bad[page * 4096 + i] = static_cast<char>(bad[page * 4096 + i] ^ 0x5a);
    write_file(database(), bad);
    const std::string said = open_error();
    EXPECT_THAT(said, HasSubstr("is damaged")) << "page " << page;
    EXPECT_EQ(read_file(database()), bad) << "page " << page;
    if (!said.empty()) ++refused;
  }
  EXPECT_EQ(refused, static_cast<int>(pages) - 1);
  const std::string cut = good.substr(0, good.size() / 2);
  write_file(database(), cut);
  EXPECT_THAT(open_error(), HasSubstr("is damaged"));
  EXPECT_EQ(read_file(database()), cut);
}

TEST_F(DatabaseTest, DamageMetWhileReadingIsAnError) {
  make_database(200);
  std::string bad = read_file(database());
  for (std::size_t i = 4096; i < bad.size(); ++i) bad[i] = static_cast<char>(bad[i] ^ 0x5a);
  write_file(database(), bad);
  auto store = open_sqlite_store(database(), {.read_only = true});
  ASSERT_TRUE(store);
  const auto trials = (*store)->trials({});
  ASSERT_FALSE(trials);
  EXPECT_THAT(trials.error().message, HasSubstr("is damaged"));
  EXPECT_EQ(read_file(database()), bad);
}

TEST_F(DatabaseTest, ReadOnlyReadsAndRefusesToAdd) {
  make_database(2);
  auto store = open({.read_only = true});
  EXPECT_EQ(*store->count({}), 2);
  Trial trial = ok_trial(1);
  const auto status = store->add(trial);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("opened for reading only"));
  EXPECT_EQ(*store->count({}), 2);
}

TEST_F(DatabaseTest, ReadOnlyDoesNotMakeAFile) {
  EXPECT_THAT(open_error({.read_only = true}), HasSubstr("does not exist"));
  EXPECT_FALSE(std::filesystem::exists(database()));
}

TEST_F(DatabaseTest, AFileWithoutWritePermissionCanBeReadButNotTunedInto) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to become someone who may not write";
  make_database(3);
  std::filesystem::permissions(database(), std::filesystem::perms(0444));
  for (const auto folder : {std::filesystem::perms(0777), std::filesystem::perms(0555)}) {
    std::filesystem::permissions(folder_, folder);
    EXPECT_EQ(open_error_as_nobody({.read_only = true}), "opened: 3");
    EXPECT_THAT(open_error_as_nobody({}), AllOf(HasSubstr("read-only"), HasSubstr("--db")));
  }
  std::filesystem::permissions(database(), std::filesystem::perms(0400));
  EXPECT_THAT(open_error_as_nobody({}), HasSubstr("cannot be read"));
}

TEST_F(DatabaseTest, ALockIsWaitedForAndThenAnError) {
  make_database(1);
  auto store = open({.busy_timeout_ms = 50});
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  Trial trial = ok_trial(1, 77);
  const auto status = store->add(trial);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, AllOf(HasSubstr("not stored"), HasSubstr("locked by another process")));
  EXPECT_EQ(*store->count({}), 1) << "readers need no lock";
  EXPECT_THAT(open_error({.busy_timeout_ms = 50}), HasSubstr("locked by another process"));
  sqlite3_exec(other, "COMMIT", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  EXPECT_TRUE(store->add(trial));
}

TEST_F(DatabaseTest, MigratesVersion1AndFindsItsTrials) {
  make_version_1();
  auto store = open();
  const auto trials = store->trials({});
  ASSERT_TRUE(trials) << trials.error().message;
  ASSERT_EQ(trials->size(), 3U);
  EXPECT_EQ(trials->at(0).timing->median_us, 812.5);
  EXPECT_EQ(trials->at(0).device, h100());
  EXPECT_TRUE(trials->at(1).replayed);
  EXPECT_TRUE(trials->at(1).shape.wants_lse);
  EXPECT_EQ(trials->at(2).outcome, Outcome::spilled);
  EXPECT_FALSE(trials->at(0).sm_clock_mhz);
  EXPECT_EQ((*store->best({.shape = dense_shape()}))->config_json, R"({"num_warps":4})");

  Trial newer = ok_trial(700, 5);
  newer.sm_clock_mhz = 1980;
  must_add(*store, newer);
  store = open();
  EXPECT_EQ(store->trials({})->back().sm_clock_mhz, 1980);
  store.reset();
  const auto report = verify_database(database());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_THAT(report->problems, testing::IsEmpty()) << "hashes of version 1 must still hold";
}

TEST_F(DatabaseTest, AMigrationThatFailsLeavesTheOldVersion) {
  make_version_1();
  run_sql(database(),
          "ALTER TABLE trials ADD COLUMN throttle TEXT");  // the second statement of the step fails
  EXPECT_NE(open_error(), "");
  EXPECT_EQ(read_file(database())[63], 1);
  run_sql(database(), "SELECT id FROM trials; ALTER TABLE trials DROP COLUMN throttle");
  EXPECT_EQ(*open()->count({}), 3);
}

TEST_F(DatabaseTest, Version3IsReadAsItIs) {
  make_version_3();
  const std::string before = read_file(database());
  {
    auto store = open({.read_only = true});
    EXPECT_EQ(*store->count({}), 4);
    EXPECT_TRUE((*store->best({.shape = dense_shape()}))->final_round);
    EXPECT_THAT(*store->wanted(), testing::IsEmpty());
  }
  EXPECT_EQ(read_file(database()), before);
}

TEST_F(DatabaseTest, MigratesVersion3) {
  make_version_3();
  {
    auto store = open();
    EXPECT_EQ(*store->count({}), 4);
    EXPECT_EQ((*store->best({.shape = dense_shape()}))->timing->median_us, 820.5) << "the final round's time";
    EXPECT_TRUE(store->want({dense_shape(), "H100", "sm_90a", 1, "", "", ""}));
    EXPECT_EQ(store->wanted()->size(), 1U);
  }
  EXPECT_EQ(read_file(database())[63], kSchemaVersion);
  const auto report = verify_database(database());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_THAT(report->problems, testing::IsEmpty()) << "hashes of version 3 must still hold";
}

TEST_F(DatabaseTest, MigratesVersion4) {
  make_version_4();
  {
    auto reader = open({.read_only = true});
    EXPECT_EQ(*reader->count({}), 4) << "version 4 is read as it is";
  }
  {
    auto store = open();
    EXPECT_EQ(*store->count({}), 4);
    EXPECT_EQ(store->wanted()->front().count, 3);
    auto jobs = open_jobs(database());
    ASSERT_TRUE(jobs) << jobs.error().message;
    Job job;
    job.kind = "tune";
    job.request = "{}";
    job.client = "a";
    EXPECT_TRUE((*jobs)->submit(job, {}));
    EXPECT_EQ((*jobs)->queued()->size(), 1U);
  }
  EXPECT_EQ(read_file(database())[63], kSchemaVersion);
  const auto report = verify_database(database());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_THAT(report->problems, testing::IsEmpty());
}

TEST_F(DatabaseTest, MigratesVersion5) {
  make_version_5();
  EXPECT_EQ(*open({.read_only = true})->count({}), 4) << "version 5 is read as it is";
  {
    auto store = open();
    EXPECT_EQ(*store->count({}), 4);
    auto jobs = open_jobs(database());
    ASSERT_TRUE(jobs) << jobs.error().message;
    // The server of version 5 was killed: one of its jobs had ended, one ran, one waited.
    EXPECT_EQ(*(*jobs)->put_back_lost(), 1);
    EXPECT_EQ((*(*jobs)->job(1))->state, JobState::done);
    EXPECT_EQ((*jobs)->queued()->size(), 2U);
    Job job;
    job.kind = "tune";
    EXPECT_EQ((*jobs)->submit(job, {.queued = 2})->verdict, Submission::Verdict::server_full);
    EXPECT_EQ((*jobs)->events(1, 0, 10)->size(), 4U);
    const auto lease = (*jobs)->start(2);
    ASSERT_TRUE(lease && *lease);
    EXPECT_EQ((*lease)->start, 2);
    EXPECT_TRUE(*(*jobs)->finish(**lease, JobState::done, "", "{}"));
  }
  EXPECT_EQ(read_file(database())[63], kSchemaVersion);
  const auto report = verify_database(database());
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_THAT(report->problems, testing::IsEmpty());
}

TEST_F(DatabaseTest, AnOlderSchemaCannotBeReadOnly) {
  make_version_1();
  EXPECT_THAT(open_error({.read_only = true}), HasSubstr("schema version 1"));
}

}  // namespace
}  // namespace attune
