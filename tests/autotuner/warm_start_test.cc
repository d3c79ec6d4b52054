#include "autotuner/warm_start.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "fake_template.h"

namespace attune {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Shape shape_of_length(std::int64_t length) {
  return {.batch = 1, .q_heads = 4, .kv_heads = 4, .q_len = length, .kv_len = length, .head_dim = 64};
}

class WarmStart : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("warm-") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    store_ = *open_sqlite_store(folder_ / "attune.db");
    template_.sizes = {1, 2, 3, 4, 5, 6, 7, 8};
    device_.name = "NVIDIA H100 80GB HBM3";
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  Trial winner(std::int64_t length, int size, const std::string& hash) const {
    Trial trial;
    trial.shape = shape_of_length(length);
    trial.template_name = template_.name();
    trial.template_hash = hash;
    trial.config_json = fmt::format("{{\"size\":{}}}", size);
    trial.config_hash = config_hash(trial.config_json);
    trial.device = device_;
    trial.outcome = Outcome::ok;
    trial.timing = Timing{.median_us = 10, .min_us = 10, .spread_us = 0, .samples = 9};
    return trial;
  }
  void store(Trial trial) { ASSERT_TRUE(store_->add(trial)); }

  std::vector<std::int64_t> starts(const Packs& packs = {}) {
    std::vector<std::int64_t> sizes;
    const Space space(template_.space(shape_of_length(512), device_));
    for (const Config& config :
         warm_start(*store_, packs, shape_of_length(512), template_, space, device_, {}))
      sizes.push_back(config.integer("size"));
    return sizes;
  }

  std::filesystem::path folder_;
  std::unique_ptr<TrialStore> store_;
  FakeTemplate template_;
  DeviceFacts device_ = *nominal_facts("sm_90a");
};

TEST_F(WarmStart, NearestFirstEachConfigOnceAndAFew) {
  EXPECT_THAT(starts(), IsEmpty());
  store(winner(4096, 5, "old"));
  store(winner(2048, 4, "old"));
  store(winner(1024, 3, "old"));
  store(winner(256, 3, "old"));
  store(winner(128, 2, "old"));
  store(winner(64, 1, "old"));
  EXPECT_THAT(starts(), ElementsAre(3, 4, 2, 5));
}

TEST_F(WarmStart, WhatTheSearchTakesUpByItselfIsNoSeed) {
  store(winner(512, 6, "of an older kernel"));
  EXPECT_THAT(starts(), ElementsAre(6));
  Trial own = winner(512, 7, std::string(template_.hash()));
  own.timing->median_us = 5;
  store(own);
  EXPECT_THAT(starts(), IsEmpty());
  device_.name = "another sm_90a";
  EXPECT_THAT(starts(), ElementsAre(7));
}

TEST_F(WarmStart, PacksCountAsTheStoreDoesTheShapesOwnToo) {
  store(winner(1024, 3, "old"));
  Pack pack;
  pack.records = {winner(512, 8, std::string(template_.hash())), winner(2048, 2, "old"),
                  winner(512, 99, "old")};
  EXPECT_THAT(starts({std::make_shared<const Pack>(pack)}), ElementsAre(8, 3, 2)) << "99 is not in the space";
}

TEST_F(WarmStart, OtherTemplatesArchsAndDistantShapesDoNotCount) {
  Trial other = winner(1024, 3, "old");
  other.template_name = "another";
  store(other);
  other = winner(1024, 3, "old");
  other.device.arch = "sm_80";
  store(other);
  other = winner(1024, 3, "old");
  other.shape.head_dim = 128;
  store(other);
  EXPECT_THAT(starts(), IsEmpty());
}

}  // namespace
}  // namespace attune
