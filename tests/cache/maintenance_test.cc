#include "cache/maintenance.h"

#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::Contains;
using testing::HasSubstr;

class MaintenanceTest : public CacheTest {
 protected:
  MaintenanceTest() {
    auto store = open();
    for (int i = 0; i < 300; ++i) {
      Trial trial = ok_trial(10 + i, i);
      if (i < 250) trial.template_hash = "old";
      if (i < 100) trial.shape.batch = 1;
      must_add(*store, trial);
    }
    Trial hopper = ok_trial(1);
    hopper.template_name = "hopper";
    hopper.template_hash = "old";
    must_add(*store, hopper);
  }

  VerifyReport verify() const {
    auto report = verify_database(database());
    EXPECT_TRUE(report) << report.error().message;
    return report ? *report : VerifyReport{};
  }
};

TEST_F(MaintenanceTest, AHealthyFileHasNoProblems) {
  const auto report = verify();
  EXPECT_THAT(report.problems, testing::IsEmpty());
  EXPECT_EQ(report.trials, 301);
  EXPECT_EQ(report.shapes, 2);
  EXPECT_EQ(report.devices, 1);
}

TEST_F(MaintenanceTest, ATrialThatWasTamperedWithIsFound) {
  run_sql(database(), "UPDATE trials SET median_us = 1 WHERE id = 17");
  EXPECT_THAT(verify().problems, testing::ElementsAre(HasSubstr("trial 17 is not what was once stored")));
}

TEST_F(MaintenanceTest, AnUnreadableTrialIsFound) {
  run_sql(database(), "UPDATE trials SET outcome = 'fine' WHERE id = 17");
  EXPECT_THAT(verify().problems, testing::ElementsAre(HasSubstr("trial 17 is damaged")));
}

TEST_F(MaintenanceTest, OrphansAreFound) {
  run_sql(database(), "DELETE FROM shapes WHERE batch = 1; DELETE FROM devices");
  EXPECT_THAT(verify().problems, Contains(HasSubstr("refers to a row of shapes that is not there")));
  EXPECT_THAT(verify().problems, Contains(HasSubstr("refers to a row of devices that is not there")));
}

TEST_F(MaintenanceTest, DamagedPagesAreFoundAndNothingIsWritten) {
  std::string bytes = read_file(database());
  for (std::size_t i = bytes.size() / 2; i < bytes.size() / 2 + 8192; ++i)
    bytes[i] = static_cast<char>(bytes[i] ^ 0x5a);
  write_file(database(), bytes);
  EXPECT_FALSE(verify().ok());
  for (const auto& problem : verify().problems) EXPECT_EQ(problem.find('\n'), std::string::npos) << problem;
  EXPECT_EQ(read_file(database()), bytes);
}

TEST_F(MaintenanceTest, WhatIsNotOursIsAnError) {
  write_file(database(), "hello");
  EXPECT_THAT(verify_database(database()).error().message, HasSubstr("is not a SQLite database"));
  EXPECT_THAT(collect_garbage(database(), {}).error().message, HasSubstr("is not a SQLite database"));
  EXPECT_THAT(verify_database(folder_ / "none").error().message, HasSubstr("does not exist"));
  EXPECT_THAT(collect_garbage(folder_ / "none", {}).error().message, HasSubstr("does not exist"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "none"));
}

TEST_F(MaintenanceTest, GarbageIsKeptUnlessAskedFor) {
  const auto report = collect_garbage(database(), {});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->trials, 0);
  EXPECT_EQ(*open()->count({}), 301);
}

TEST_F(MaintenanceTest, TrialsOfOutdatedTemplatesAreDeletedWithTheirShapes) {
  const GarbageOptions options{.current_templates = {{"portable", {"aaaa"}}}, .dry_run = true};
  auto report = collect_garbage(database(), options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->trials, 250);
  EXPECT_EQ(report->shapes, 1);
  EXPECT_EQ(*open()->count({}), 301) << "a dry run deletes nothing";

  report = collect_garbage(database(), {.current_templates = options.current_templates});
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->trials, 250);
  EXPECT_EQ(report->shapes, 1);
  EXPECT_EQ(report->devices, 0);
  EXPECT_GT(report->freed_bytes, 0);
  EXPECT_EQ(*open()->count({.template_name = "portable"}), 50);
  EXPECT_EQ(*open()->count({.template_name = "hopper"}), 1) << "not named, so kept";
  EXPECT_TRUE(verify().ok());
}

TEST_F(MaintenanceTest, AnOpenStoreGoesOnAfterGarbageWasCollected) {
  auto store = open();
  ASSERT_TRUE(store->trials({}));
  ASSERT_TRUE(collect_garbage(database(), {.current_templates = {{"portable", {"aaaa"}}}}));
  Trial again = ok_trial(5, 1000);
  again.shape.batch = 1;
  must_add(*store, again);
  EXPECT_EQ(store->trials({})->back().shape.batch, 1);
  EXPECT_EQ(*store->count({}), 52);
  EXPECT_TRUE(verify().ok());
}

}  // namespace
}  // namespace attune
