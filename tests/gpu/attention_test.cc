// The attention templates on a GPU: FlashAttention's list of lengths, head groupings, masks and head_dims
// under the default config, a covering set of configs (every value of every axis), and what models rarely ask
// for.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "attention_harness.h"
#include "cache/pack.h"
#include "templates/hopper_config.h"
#include "tests/covering_set.h"

namespace attune {
namespace {

class AttentionOnGpu : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto found = machine();
    if (!found) GTEST_SKIP() << "no GPU: " << found.error().message;
    on_ = *found;
    template_ = need(find_template(GetParam()));
    const Shape any =
        need(validated({.q_heads = 1, .kv_heads = 1, .q_len = 64, .kv_len = 64, .head_dim = 64}));
    if (const Status served = template_->supports(any, on_->facts); !served) {
      GTEST_SKIP() << "no GPU for this template: " << served.error().message;
    }
  }

  bool supported(const Shape& shape) const {
    return template_->supports(need(validated(shape)), on_->facts).ok();
  }

  // The shape under the template's default config.
  Case default_case(const Shape& shape) const {
    const Shape valid = need(validated(shape));
    need(template_->supports(valid, on_->facts));
    return {template_, valid, template_->default_config(valid, on_->facts)};
  }

  std::vector<Case> covering_cases(const Shape& shape, Rng& rng) const {
    const Shape valid = need(validated(shape));
    std::vector<Case> cases;
    for (Config& config : covering_set(Space(template_->space(valid, on_->facts)), rng)) {
      cases.push_back({template_, valid, std::move(config)});
    }
    return cases;
  }

  Machine* on_ = nullptr;
  const AttentionTemplate* template_ = nullptr;
};

class HopperOnGpu : public AttentionOnGpu {};

INSTANTIATE_TEST_SUITE_P(Templates, HopperOnGpu, ::testing::Values("hopper"),
                         [](const auto& instance) { return instance.param; });
INSTANTIATE_TEST_SUITE_P(Templates, AttentionOnGpu, ::testing::Values("portable", "hopper"),
                         [](const auto& instance) { return instance.param; });

// (q_len, kv_len) of FlashAttention's tests/test_flash_attn.py.
const std::vector<std::pair<int, int>> kLengths{
    {1, 1},     {239, 1},   {799, 3},     {113, 203},   {113, 128},   {128, 217},   {113, 211},  {108, 256},
    {256, 512}, {512, 256}, {1024, 1024}, {1023, 1024}, {1024, 1023}, {2048, 2048}, {4224, 4224}};
const std::vector<std::pair<int, int>> kHeads{{6, 6}, {6, 2}, {6, 1}};

TEST_P(AttentionOnGpu, DefaultConfigOnFlashAttentionsCases) {
  std::vector<Case> cases;
  std::size_t turn = 0;
  for (const auto& [q_len, kv_len] : kLengths) {
    for (const Mask mask : {Mask::none, Mask::causal_bottom_right, Mask::causal_top_left}) {
      for (const int head_dim : {64, 80, 96, 128}) {
        const auto [q_heads, kv_heads] = kHeads[turn++ % kHeads.size()];
        cases.push_back(default_case({.batch = 1 + static_cast<std::int64_t>(turn % 2),
                                      .q_heads = q_heads,
                                      .kv_heads = kv_heads,
                                      .q_len = q_len,
                                      .kv_len = kv_len,
                                      .head_dim = head_dim,
                                      .mask = mask,
                                      .wants_lse = turn % 3 != 0}));
      }
    }
  }
  check_all(*on_, cases);
}

TEST_P(AttentionOnGpu, OddHeadDimsAndFp16AndStridedLayouts) {
  std::vector<Case> cases;
  int turn = 0;
  for (const int head_dim : {8, 16, 24, 40, 48, 72, 104, 112, 160, 192, 240, 256}) {
    for (const auto& [q_len, kv_len] : {std::pair{113, 203}, {256, 256}, {1, 777}}) {
      ++turn;
      const Shape shape{.batch = 2,
                        .q_heads = 8,
                        .kv_heads = 2,
                        .q_len = q_len,
                        .kv_len = kv_len,
                        .head_dim = head_dim,
                        .dtype = turn % 2 == 0 ? DType::bf16 : DType::fp16,
                        .mask = turn % 3 == 0 ? Mask::none : Mask::causal_bottom_right,
                        .layout = turn % 4 < 2 ? Layout::bshd : Layout::bhsd,
                        .wants_lse = true};
      if (supported(shape)) cases.push_back(default_case(shape));
    }
  }
  ASSERT_GE(cases.size(), 18U);
  check_all(*on_, cases, {.large_logits = true});
}

TEST_P(AttentionOnGpu, RowsWithoutAKeyAreZeroAndMinusInfinity) {
  std::vector<Case> cases;
  for (const int head_dim : {64, 112}) {
    cases.push_back(default_case({.q_heads = 4,
                                  .kv_heads = 2,
                                  .q_len = 700,
                                  .kv_len = 99,
                                  .head_dim = head_dim,
                                  .mask = Mask::causal_bottom_right,
                                  .wants_lse = true}));
  }
  check_all(*on_, cases);
}

TEST_P(AttentionOnGpu, AHundredThousandKeys) {
  check_all(*on_,
            {default_case({.q_heads = 2,
                           .kv_heads = 1,
                           .q_len = 65,
                           .kv_len = 100'003,
                           .head_dim = 128,
                           .mask = Mask::causal_bottom_right,
                           .wants_lse = true}),
             default_case({.q_heads = 1, .kv_heads = 1, .q_len = 1, .kv_len = 131'072, .head_dim = 64})});
}

// Between them every family, schedule and axis value, on ragged lengths and grouped heads. Repeated, since a
// race between warps shows in some runs only.
TEST_P(AttentionOnGpu, EveryValueOfEveryAxis) {
  std::vector<Case> cases;
  Rng rng(20261122);
  for (const Shape& shape :
       {Shape{.batch = 2,
       .q_heads = 8,
       .kv_heads = 2,
       .q_len = 500,
       .kv_len = 700,
       .head_dim = 64,
       .mask = Mask::causal_bottom_right,
       .wants_lse = true},
        Shape{.batch = 2, .q_heads = 6, .kv_heads = 6, .q_len = 512, .kv_len = 512, .head_dim = 128},
        Shape{.q_heads = 8,
        .kv_heads = 1,
        .q_len = 1300,
        .kv_len = 1300,
        .head_dim = 128,
        .mask = Mask::causal_bottom_right,
        .layout = Layout::bshd},
        Shape{
            .q_heads = 8, .kv_heads = 1, .q_len = 3, .kv_len = 1500, .head_dim = 96, .layout = Layout::bshd},
        // Row tiles of very unequal length, each shared by CTAs (kv_len >= 4 q_len).
        Shape{.q_heads = 8,
        .kv_heads = 2,
        .q_len = 900,
        .kv_len = 4000,
        .head_dim = 64,
        .mask = Mask::causal_top_left,
        .wants_lse = true},
        Shape{.q_heads = 6,
        .kv_heads = 3,
        .q_len = 640,
        .kv_len = 640,
        .head_dim = 80,
        .dtype = DType::fp16,
        .mask = Mask::causal_top_left}}) {
    std::ranges::move(covering_cases(shape, rng), std::back_inserter(cases));
  }
  check_all(*on_, cases, {.repeats = 20});
}

TEST_P(AttentionOnGpu, TwoHundredRunsGiveTheSameBits) {
  std::vector<Case> cases;
  for (const int head_dim : {64, 80, 96, 128}) {
    cases.push_back(default_case({.q_heads = 24,
                                  .kv_heads = 8,
                                  .q_len = 1500,
                                  .kv_len = 1500,
                                  .head_dim = head_dim,
                                  .mask = Mask::causal_bottom_right}));
  }
  check_all(*on_, cases, {.repeats = 200});
}

// What lookup serves out of the box.
TEST_P(HopperOnGpu, ShippedRecordsAreRightAndGiveTheSameBits) {
  const Pack pack = need(find_pack("h100"));
  std::vector<Case> cases;
  for (const Trial& record : pack.records) {
    if (record.template_name != template_->name()) continue;
    const SpaceDefinition space = template_->space(record.shape, on_->facts);
    cases.push_back(
        {template_, record.shape, need(config_from_json(nlohmann::json::parse(record.config_json), space))});
  }
  ASSERT_FALSE(cases.empty());
  check_all(*on_, cases, {.repeats = 200});
}

// Where sections of heads follow each other, tiles of one KV block have tiles after them, whose Q overwrites
// theirs soon after they took it to registers: too soon, once, in a launch of some hundreds.
TEST_P(HopperOnGpu, ATileOfOneBlockKeepsItsQuery) {
  std::vector<Case> cases;
  for (const char* const row_order : {"longest_first", "ascending"}) {
    Case c = default_case({.q_heads = 16,
                           .kv_heads = 2,
                           .q_len = 4096,
                           .kv_len = 4096,
                           .head_dim = 128,
                           .mask = Mask::causal_bottom_right});
    c.config.set(hopper_axis::kPipeline, std::string("overlap"));
    c.config.set(hopper_axis::kQueryIn, std::string("registers"));
    c.config.set(hopper_axis::kStagesQ, std::int64_t{1});
    c.config.set(hopper_axis::kStagesK, std::int64_t{2});
    c.config.set(hopper_axis::kStagesV, std::int64_t{2});
    c.config.set(hopper_axis::kL2Grouping, std::int64_t{2});
    c.config.set(hopper_axis::kRowOrder, std::string(row_order));
    cases.push_back(std::move(c));
  }
  check_all(*on_, cases, {.repeats = 3000});
}

// Copy engine and vector loads want 16 bytes: what is not so is refused by name, never computed wrongly.
TEST_P(AttentionOnGpu, StridesAndAddressesOffTheGridAreRefused) {
  const Case c = default_case({.q_heads = 4, .kv_heads = 4, .q_len = 256, .kv_len = 256, .head_dim = 64});
  const LaunchSpec spec = template_->launch_spec(c.shape, on_->facts, c.config);
  AttentionTensors good;
  good.q = good.k = good.v = good.o = 1 << 20;
  good.workspace = 1 << 20;
  good.q_strides = good.k_strides = good.v_strides = good.o_strides =
      contiguous_strides(c.shape.layout, c.shape.kv_heads, c.shape.kv_len, c.shape.head_dim);
  ASSERT_TRUE(template_->bind(c.shape, c.config, spec, good));
  AttentionTensors odd = good;
  odd.v_strides.seq = 68;
  EXPECT_NE(template_->bind(c.shape, c.config, spec, odd).error().message.find("v has strides"),
            std::string::npos);
  odd = good;
  odd.k += 8;
  EXPECT_NE(template_->bind(c.shape, c.config, spec, odd).error().message.find("k is at"), std::string::npos);
}

}  // namespace
}  // namespace attune
