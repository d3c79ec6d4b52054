#include "cache/lookup.h"

#include <cmath>

#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::HasSubstr;

Shape causal_gqa(std::int64_t batch, std::int64_t length) {
  return {.batch = batch,
          .q_heads = 32,
          .kv_heads = 8,
          .q_len = length,
          .kv_len = length,
          .head_dim = 128,
          .mask = Mask::causal_bottom_right};
}

Shape decode(std::int64_t kv_len) {
  Shape shape = causal_gqa(8, kv_len);
  shape.q_len = 1;
  return shape;
}

template <class Change>
Shape with(Shape shape, Change change) {
  change(shape);
  return shape;
}

struct Pair {
  const char* what;
  Shape asked, measured;
  std::optional<double> distance;
};
class NearDistance : public testing::TestWithParam<Pair> {};

TEST_P(NearDistance, IsSymmetricAndAsExpected) {
  const auto& [what, asked, measured, expected] = GetParam();
  for (const auto& distance : {near_distance(asked, measured), near_distance(measured, asked)}) {
    ASSERT_EQ(distance.has_value(), expected.has_value());
    if (expected) {
      EXPECT_NEAR(*distance, *expected, 1e-9);
    }
  }
}

const double kLn2 = std::log(2.0);
const Shape kAsked = causal_gqa(4, 4096);

INSTANTIATE_TEST_SUITE_P(
    All, NearDistance,
    testing::Values(
        Pair{"same", kAsked, kAsked, 0}, Pair{"twice_the_batch", kAsked, causal_gqa(8, 4096), kLn2},
        Pair{"both_lengths_doubled", kAsked, causal_gqa(4, 8192), std::sqrt(2.0) * kLn2},
        Pair{"heads_doubled", kAsked, with(kAsked, [](Shape& s) { s.q_heads *= 2, s.kv_heads *= 2; }), kLn2},
        Pair{"layout_and_lse_are_no_distance", kAsked,
             with(kAsked, [](Shape& s) { s.layout = Layout::bshd, s.wants_lse = true; }), 0},
        Pair{"head_dim", kAsked, with(kAsked, [](Shape& s) { s.head_dim = 64; }), std::nullopt},
        Pair{"dtype", kAsked, with(kAsked, [](Shape& s) { s.dtype = DType::fp16; }), std::nullopt},
        Pair{"causal", kAsked, with(kAsked, [](Shape& s) { s.mask = Mask::none; }), std::nullopt},
        Pair{"gqa_ratio", kAsked, with(kAsked, [](Shape& s) { s.kv_heads = 4; }), std::nullopt},
        Pair{"same_kv_heads_other_ratio", kAsked, with(kAsked, [](Shape& s) { s.q_heads = 64; }),
             std::nullopt},
        Pair{"decode_never_prefill", decode(4096), kAsked, std::nullopt},
        Pair{"decode_and_decode", decode(4096), decode(2048), kLn2},
        Pair{"speculative_decode_is_decode", decode(4096), with(decode(4096), [](Shape& s) { s.q_len = 16; }),
             std::log(16.0)},
        Pair{"seventeen_queries_are_prefill", decode(4096),
             with(decode(4096), [](Shape& s) { s.q_len = 17; }), std::nullopt},
        Pair{"a_short_square_is_prefill", causal_gqa(1, 16), causal_gqa(1, 32), std::sqrt(2.0) * kLn2},
        Pair{"square_is_of_both_causal_kinds", kAsked,
             with(kAsked, [](Shape& s) { s.mask = Mask::causal_top_left, s.kv_len *= 2; }), kLn2},
        Pair{"causal_kinds_differ_off_the_square", with(kAsked, [](Shape& s) { s.kv_len *= 2; }),
             with(kAsked, [](Shape& s) { s.mask = Mask::causal_top_left, s.kv_len *= 2; }), std::nullopt}),
    [](const auto& test) { return test.param.what; });

class LookupTest : public CacheTest {
 protected:
  void add(Trial trial) { must_add(*store_, std::move(trial)); }
  LookupAnswer look_up(const Shape& shape, const std::function<bool(const Trial&)>& legal = {}) {
    auto answer = store_->lookup(shape, h100(), {}, "13.0", legal, LookupReach::near);
    EXPECT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->reason.find('\n'), std::string::npos);
    EXPECT_FALSE(answer->reason.empty());
    return *answer;
  }
  static Trial of(const Shape& shape, double us, int config = 0) {
    Trial trial = ok_trial(us, config);
    trial.shape = shape;
    return trial;
  }

  std::unique_ptr<TrialStore> store_ = open();
};

TEST_F(LookupTest, ExactBeatsNear) {
  add(of(causal_gqa(4, 4097), 1));
  add(of(kAsked, 100));
  const auto answer = look_up(kAsked);
  EXPECT_EQ(answer.provenance, Provenance::exact);
  EXPECT_EQ(answer.record->timing->median_us, 100);
  EXPECT_EQ(answer.distance, 0);
  EXPECT_FALSE(answer.stale);
}

TEST_F(LookupTest, TheNearestShapeAnswers) {
  add(of(causal_gqa(4, 1024), 1));
  add(of(causal_gqa(4, 8192), 100));
  add(of(causal_gqa(64, 4096), 2));
  const auto answer = look_up(kAsked);
  EXPECT_EQ(answer.provenance, Provenance::near);
  EXPECT_EQ(answer.record->shape.q_len, 8192);
  EXPECT_NEAR(answer.distance, std::sqrt(2.0) * kLn2, 1e-9);
  EXPECT_THAT(answer.reason, HasSubstr("s8192x8192"));
}

TEST_F(LookupTest, LayoutBreaksTies) {
  add(of(with(kAsked, [](Shape& s) { s.layout = Layout::bshd, s.batch = 8; }), 1));
  add(of(causal_gqa(8, 4096), 100));
  EXPECT_EQ(look_up(kAsked).record->shape.layout, Layout::bhsd);
}

// A kernel takes strides: the memory order changes neither its code nor its work.
TEST_F(LookupTest, TheOtherMemoryOrderIsAnsweredExactly) {
  const Shape other = with(kAsked, [](Shape& s) { s.layout = Layout::bshd; });
  add(of(with(kAsked, [](Shape& s) { s.wants_lse = true; }), 3));
  EXPECT_EQ(look_up(other).provenance, Provenance::near) << "the log-sum-exp is work of its own";
  add(of(kAsked, 100));
  const auto answer = look_up(other);
  EXPECT_EQ(answer.provenance, Provenance::exact);
  EXPECT_EQ(answer.record->timing->median_us, 100);
  EXPECT_THAT(answer.reason, HasSubstr("measured for this shape in bhsd order"));
  add(of(other, 200, 1));
  EXPECT_EQ(look_up(other).record->timing->median_us, 200) << "its own order comes first";
  EXPECT_EQ(look_up(kAsked).record->timing->median_us, 100);
  EXPECT_THAT(look_up(kAsked).reason, HasSubstr("measured for this shape:"));
}

TEST_F(LookupTest, NeverAnswersAcrossWhatMustAgree) {
  add(of(decode(4096), 1));
  for (const auto& change : std::vector<void (*)(Trial&)>{
           [](Trial& t) { t.shape.kv_heads = 4; }, [](Trial& t) { t.shape.head_dim = 64; },
           [](Trial& t) { t.shape.dtype = DType::fp16; }, [](Trial& t) { t.shape.mask = Mask::none; },
           [](Trial& t) { t.device.arch = "sm_80"; }, [](Trial& t) { t.policy.cuda_graph = true; },
           [](Trial& t) { t.outcome = Outcome::slow; }}) {
    Trial trial = of(kAsked, 1);
    change(trial);
    add(trial);
  }
  const auto answer = look_up(kAsked);
  EXPECT_EQ(answer.provenance, Provenance::none);
  EXPECT_FALSE(answer.record);
  EXPECT_THAT(answer.reason, HasSubstr("attune tune"));
}

TEST_F(LookupTest, SameGpuThenMeasuredThenFastest) {
  const auto place = [this](double us, const char* gpu, bool replayed) {
    Trial trial = of(kAsked, us);
    trial.device.name = gpu;
    trial.replayed = replayed;
    add(trial);
    return look_up(kAsked).record->timing->median_us;
  };
  EXPECT_EQ(place(1, "NVIDIA H200", true), 1);
  EXPECT_EQ(place(2, "NVIDIA H200", false), 2);
  EXPECT_EQ(place(3, "NVIDIA H100 80GB HBM3", true), 3);
  EXPECT_EQ(place(4, "NVIDIA H100 80GB HBM3", false), 4);
  add(of(kAsked, 3.5, 1));
  EXPECT_EQ(look_up(kAsked).record->timing->median_us, 3.5);
}

TEST_F(LookupTest, AnotherGpuOfTheArchIsNamed) {
  Trial trial = of(kAsked, 1);
  trial.device.name = "NVIDIA H200";
  add(trial);
  const auto answer = look_up(kAsked);
  EXPECT_EQ(answer.provenance, Provenance::exact);
  EXPECT_THAT(answer.reason, HasSubstr("NVIDIA H200"));
  EXPECT_THAT(answer.reason, HasSubstr("another sm_90a GPU"));
}

TEST_F(LookupTest, WhatIsNotLegalIsPassedOver) {
  add(of(kAsked, 1, 0));
  add(of(kAsked, 2, 1));
  add(of(causal_gqa(8, 4096), 3, 2));
  const auto not_config = [](std::vector<std::string> banned) {
    return [banned](const Trial& trial) {
      return std::find(banned.begin(), banned.end(), trial.config_json) == banned.end();
    };
  };
  EXPECT_EQ(look_up(kAsked, not_config({R"({"num_warps":0})"})).record->timing->median_us, 2);
  const auto near = look_up(kAsked, not_config({R"({"num_warps":0})", R"({"num_warps":1})"}));
  EXPECT_EQ(near.provenance, Provenance::near);
  const auto none = look_up(kAsked, [](const Trial&) { return false; });
  EXPECT_EQ(none.provenance, Provenance::none);
  EXPECT_THAT(none.reason, HasSubstr("3 trials were found but not usable here"));
}

TEST_F(LookupTest, WithinExactReachNoOtherShapeIsLookedAt) {
  add(of(causal_gqa(8, 4096), 1));
  add(of(with(kAsked, [](Shape& s) { s.layout = Layout::bshd; }), 2));
  std::vector<double> seen;
  const auto look = [&](bool take) {
    return store_->lookup(
        kAsked, h100(), {}, "13.0",
        [&](const Trial& trial) {
          seen.push_back(trial.timing->median_us);
          return take;
        },
        LookupReach::exact);
  };
  EXPECT_EQ(look(true)->provenance, Provenance::exact) << "the other memory order is exact, too";
  EXPECT_EQ(look(false)->provenance, Provenance::none);
  EXPECT_THAT(seen, testing::ElementsAre(2, 2)) << "an hour's trials of a near shape would be walked through";
}

TEST_F(LookupTest, LegalMayUseTheStore) {
  add(of(kAsked, 1));
  EXPECT_TRUE(look_up(kAsked, [this](const Trial&) { return *store_->count({}) == 1; }).record);
}

TEST_F(LookupTest, ANewerWrongAnswerTakesTheClaimAway) {
  add(of(kAsked, 1));
  Trial wrong = failed_trial(Outcome::wrong_answer);
  wrong.shape = kAsked;
  add(wrong);
  EXPECT_EQ(look_up(kAsked).provenance, Provenance::none);
}

TEST_F(LookupTest, ASquareCausalShapeIsFoundUnderItsOtherName) {
  add(of(kAsked, 1));
  EXPECT_EQ(look_up(with(kAsked, [](Shape& s) { s.mask = Mask::causal_top_left; })).provenance,
            Provenance::exact);
}

struct Upgrade {
  const char* what;
  int driver_version;
  const char* driver;
  const char* nvrtc;
  const char* said;  // "" when not stale
};
class Staleness : public LookupTest, public testing::WithParamInterface<Upgrade> {};

TEST_P(Staleness, IsToldWithWhatChanged) {
  add(of(kAsked, 1));
  DeviceFacts device = h100();
  device.driver_version = GetParam().driver_version;
  device.driver = GetParam().driver;
  const auto answer = store_->lookup(kAsked, device, {}, GetParam().nvrtc, {}, LookupReach::near);
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_TRUE(answer->record);
  EXPECT_EQ(answer->stale, *GetParam().said != '\0');
  EXPECT_THAT(answer->reason, HasSubstr(GetParam().said));
}

INSTANTIATE_TEST_SUITE_P(
    All, Staleness,
    testing::Values(Upgrade{"nothing", 13000, "580.159.04", "13.0", ""},
                    Upgrade{"nvrtc", 13000, "580.159.04", "13.1", "NVRTC 13.0 then, 13.1 now"},
                    Upgrade{"cuda_driver", 13010, "580.159.04", "13.0", "CUDA driver 13000 then, 13010 now"},
                    Upgrade{"kernel_driver", 13000, "590.10", "13.0",
                            "kernel driver 580.159.04 then, 590.10 now"},
                    Upgrade{"unknown_is_not_stale", 0, "", "", ""}),
    [](const auto& test) { return test.param.what; });

}  // namespace
}  // namespace attune
