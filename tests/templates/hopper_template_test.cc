// The host side of the Hopper template: every default is legal and compiles clean for sm_90a, and so does a
// random sample of the space; refusals are named.
#include "templates/hopper_template.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "compiler/nvrtc.h"
#include "templates/hopper_config.h"
#include "templates/hopper_divisor.h"

namespace attune {
namespace {

Shape make_shape(std::int64_t q_heads, std::int64_t kv_heads, std::int64_t length, std::int64_t head_dim,
                 Mask mask) {
  return *validated(Shape{.batch = 1,
                          .q_heads = q_heads,
                          .kv_heads = kv_heads,
                          .q_len = length,
                          .kv_len = length,
                          .head_dim = head_dim,
                          .mask = mask});
}

DeviceFacts h100() {
  DeviceFacts facts = *nominal_facts("sm_90a");
  facts.sm_count = 132;
  return facts;
}

// Draws axis by axis and starts again at a broken rule; nothing where `tries` do not suffice.
std::optional<Config> random_config(const SpaceDefinition& space, std::mt19937& random) {
  for (int tries = 0; tries < 200000; ++tries) {
    Config config;
    for (const Axis& axis : space.axes) {
      if (!axis.active || axis.active(config))
        config.set(axis.name, axis.values[random() % axis.values.size()]);
    }
    if (check_config(config, space)) return config;
  }
  return {};
}

void expect_clean(const Shape& shape, const Config& config) {
  const auto nvrtc = Nvrtc::open();
  if (!nvrtc) GTEST_SKIP() << nvrtc.error().message;
  const auto source = hopper_template().render(shape, h100(), config);
  const CompiledKernel kernel = (*nvrtc)->compile(source, "sm_90a", std::chrono::minutes(2));
  const std::string what =
      to_string(shape) + " " + canonical_json(config, hopper_template().space(shape, h100()));
  ASSERT_EQ(kernel.outcome, CompileOutcome::ok) << what << "\n" << kernel.log;
  EXPECT_TRUE(kernel.warnings.empty()) << what << "\n" << kernel.log;
  EXPECT_EQ(kernel.usage.spill_store_bytes, 0) << what;
}

TEST(HopperTemplate, DefaultsOfTheWorkloadAreLegal) {
  for (const std::int64_t head_dim : {16, 64, 80, 96, 112, 128, 192, 256}) {
    for (const std::int64_t length : {1, 17, 512, 1024, 4096}) {
      for (const Mask mask : {Mask::none, Mask::causal_bottom_right}) {
        const Shape shape = make_shape(32, 8, length, head_dim, mask);
        ASSERT_TRUE(hopper_template().supports(shape, h100()));
        const Config config = hopper_template().default_config(shape, h100());
        EXPECT_TRUE(check_config(config, hopper_template().space(shape, h100())));
      }
    }
  }
}

// CTAs that walk tiles load the next tile's only block ahead.
TEST(HopperTemplate, FewKeysKeepTheWalkingDefault) {
  for (const std::int64_t kv_len : {64, 128}) {
    const Shape shape = *validated(
        Shape{.batch = 16, .q_heads = 16, .kv_heads = 16, .q_len = 4096, .kv_len = kv_len, .head_dim = 128});
    const Config config = hopper_template().default_config(shape, h100());
    EXPECT_EQ(config.text("pid_type"), "dynamic") << kv_len;
    EXPECT_GE(config.integer("k_stages"), 2) << kv_len;
  }
}

Shape decoding_shape() {
  return *validated(Shape{.q_heads = 32, .kv_heads = 8, .q_len = 1, .kv_len = 8192, .head_dim = 128});
}

TEST(HopperTemplate, DecodingSharesTilesAmongHeadsAndKeysAmongCtas) {
  const Shape shape = decoding_shape();
  const Config config = hopper_template().default_config(shape, h100());
  EXPECT_EQ(config.integer("packed_heads"), 4);
  const LaunchSpec launch = hopper_template().launch_spec(shape, h100(), config);
  EXPECT_EQ(launch.grid[0], 8 * config.integer("cta_split")) << "a tile for each kv head";
  EXPECT_GE(launch.grid[0], 66U) << "most SMs have work";
  EXPECT_EQ(launch.workspace_bytes, 256 + launch.grid[0] * 64 * (128 + 2) * 4)
      << "counters, and a part of O from each CTA";

  // Where the tiles fill the chip already each has one CTA, and still all q heads of its kv head.
  Shape batch = shape;
  batch.batch = 16;
  const Config many = hopper_template().default_config(batch, h100());
  EXPECT_EQ(many.integer("packed_heads"), 4);
  EXPECT_EQ(hopper_template().launch_spec(batch, h100(), many).grid[0], 128U);
}

TEST(HopperTemplate, ChoicesThatCannotWorkAreRefusedByReason) {
  Shape batch = decoding_shape();
  Config config = hopper_template().default_config(batch, h100());
  batch.batch = 16;
  config.set("cta_split", std::int64_t{32});
  EXPECT_NE(
      check_config(config, hopper_template().space(batch, h100())).error().message.find("parts for 132 SMs"),
      std::string::npos);

  const Shape square = make_shape(32, 8, 4096, 64, Mask::causal_bottom_right);
  Config tall = hopper_template().default_config(square, h100());
  ASSERT_EQ(tall.integer("block_m"), 192);
  ASSERT_EQ(tall.integer("q_stages"), 2);
  tall.set("store", std::string("tma"));
  EXPECT_NE(
      check_config(tall, hopper_template().space(square, h100())).error().message.find("begins before row 0"),
      std::string::npos);
}

// Tiles are counted, not rows: long batches have many rows of few tiles.
TEST(HopperTemplate, ServesLongBatches) {
  Shape shape = make_shape(32, 8, 131072, 128, Mask::causal_bottom_right);
  shape.batch = 8;
  EXPECT_TRUE(hopper_template().supports(shape, h100()));
  EXPECT_TRUE(
      check_config(hopper_template().default_config(shape, h100()), hopper_template().space(shape, h100())));
}

// What a search found before the axes were there keeps its name.
TEST(HopperTemplate, ConfigsFromBeforeAnAxisKeepTheirJson) {
  const Shape shape = make_shape(32, 8, 4096, 128, Mask::causal_bottom_right);
  const SpaceDefinition space = hopper_template().space(shape, h100());
  const nlohmann::json before = nlohmann::json::parse(
      R"({"block_sizes":[1,128,128],"ctas_per_sm":1,"kv_split":1,"l2_groupings":[0],
          "load_eviction_policies":["","",""],"pid_type":"persistent_snake","pipeline":"overlap_gemm_turns",
          "producer":"warpgroup","q_in":"registers","q_stages":1,"range_num_stages":[3,3],
          "row_order":"longest_first","softmax_order":"batches","swizzle":128})");
  const auto config = config_from_json(before, space);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->text("store"), "direct");
  EXPECT_EQ(config_to_json(*config, space), before);
}

TEST(HopperTemplate, DefaultsCompileClean) {
  for (const auto& shape : {make_shape(14, 2, 512, 64, Mask::causal_bottom_right),
                            make_shape(32, 8, 2048, 64, Mask::causal_bottom_right),
                            make_shape(32, 32, 4096, 96, Mask::causal_bottom_right),
                            make_shape(32, 8, 4096, 128, Mask::causal_bottom_right),
                            make_shape(32, 32, 4096, 128, Mask::none), decoding_shape()}) {
    expect_clean(shape, hopper_template().default_config(shape, h100()));
  }
}

TEST(HopperTemplate, RandomConfigsCompileClean) {
  // ATTUNE_COVERING_CONFIGS: how many, for a thorough run by hand.
  const char* wanted = std::getenv("ATTUNE_COVERING_CONFIGS");
  const int count = wanted ? std::atoi(wanted) : 6;
  std::mt19937 random(20);
  for (int i = 0; i < count; ++i) {
    const std::int64_t head_dims[] = {64, 80, 96, 128};
    const Shape shape = make_shape(32, 8, i % 2 ? 4096 : 1024, head_dims[i % 4],
                                   i % 3 ? Mask::causal_bottom_right : Mask::none);
    const auto config = random_config(hopper_template().space(shape, h100()), random);
    ASSERT_TRUE(config.has_value());
    expect_clean(shape, *config);
  }
}

TEST(HopperTemplate, MeasuredConfigsAreLegal) {
  std::ifstream file(std::string(ATTUNE_SOURCE_DIR) + "/bench/hopper_seeds.json");
  const nlohmann::json seeds = nlohmann::json::parse(file);
  EXPECT_GE(seeds.size(), 8u);
  for (const auto& [name, configs] : seeds.items()) {
    const bool dense = name.starts_with("dense");
    const bool narrow = name.find("d64") != std::string::npos;
    const std::int64_t length = name.find("at_512") != std::string::npos    ? 512
                                : name.find("at_1024") != std::string::npos ? 1024
                                : name.find("at_2048") != std::string::npos ? 2048
                                                                            : 4096;
    const Shape shape =
        make_shape(32, 8, length, narrow ? 64 : 128, dense ? Mask::none : Mask::causal_bottom_right);
    const SpaceDefinition space = hopper_template().space(shape, h100());
    for (const auto& json : configs) {
      const auto config = config_from_json(json, space);
      ASSERT_TRUE(config) << name << ": " << config.error().message;
      const Status legal = check_config(*config, space);
      EXPECT_TRUE(legal) << name << ": " << legal.error().message;
    }
  }
}

// The tuner measures what has the same machine code and launch once: an axis that neither shows would never
// be tried.
TEST(HopperTemplate, EveryAxisShowsInTheSourceOrTheLaunch) {
  int compared = 0;
  for (const Shape& shape : {make_shape(32, 8, 2048, 128, Mask::causal_bottom_right),
                             make_shape(32, 32, 4096, 64, Mask::none), decoding_shape()}) {
    const SpaceDefinition space = hopper_template().space(shape, h100());
    const Config base = hopper_template().default_config(shape, h100());
    const std::string source = hopper_template().render(shape, h100(), base).text;
    const LaunchSpec launch = hopper_template().launch_spec(shape, h100(), base);
    for (const Axis& axis : space.axes) {
      for (const AxisValue& value : axis.values) {
        Config config = base;
        config.set(axis.name, value);
        if (config == base || !check_config(config, space)) continue;
        ++compared;
        EXPECT_TRUE(hopper_template().render(shape, h100(), config).text != source ||
                    hopper_template().launch_spec(shape, h100(), config) != launch)
            << axis.name << " = " << to_string(value);
      }
    }
  }
  EXPECT_GE(compared, 20);
}

TEST(HopperTemplate, RefusalsSayWhy) {
  const Shape odd = make_shape(8, 8, 128, 72, Mask::none);
  EXPECT_NE(hopper_template().supports(odd, h100()).error().message.find("multiple of 16"),
            std::string::npos);
  const Shape shape = make_shape(8, 8, 128, 64, Mask::none);
  EXPECT_NE(hopper_template().supports(shape, *nominal_facts("sm_80")).error().message.find("sm_90a"),
            std::string::npos);

  const Config config = hopper_template().default_config(shape, h100());
  AttentionTensors tensors;
  tensors.q = tensors.k = tensors.v = tensors.o = 4096;
  tensors.q_strides = tensors.k_strides = tensors.v_strides = tensors.o_strides =
      contiguous_strides(Layout::bhsd, 8, 128, 64);
  tensors.k = 4104;
  EXPECT_NE(hopper_template().bind(shape, config, tensors).error().message.find("k is at"),
            std::string::npos);
  tensors.k = 4096;
  tensors.v_strides.seq = 68;
  EXPECT_NE(hopper_template().bind(shape, config, tensors).error().message.find("v has strides"),
            std::string::npos);
}

// The kernel finds the place of a tile with it: one off by one is a head computed twice and another never.
TEST(HopperDivisorTest, EqualsDivision) {
  constexpr std::uint64_t kEnd = std::uint64_t{1} << 31;
  std::vector<std::uint64_t> divisors{1,   2,   3,   5,     7,     14,       32,      127,
                                      128, 129, 641, 65535, 65537, 1u << 30, kEnd - 1};
  for (std::uint64_t d = 1; d <= 512; ++d) divisors.push_back(d);
  for (const std::uint64_t d : divisors) {
    const HopperDivisor by = hopper_divisor(static_cast<std::int64_t>(d));
    const auto expect_quotient = [&](std::uint64_t n) {
      ASSERT_EQ(n * by.multiplier >> by.shift, n / d) << n << " / " << d;
    };
    // An error can only show first at the last number before a multiple.
    for (std::uint64_t multiple = d, step = 0; multiple < kEnd && step < 2000; multiple += d, ++step) {
      expect_quotient(multiple - 1);
      expect_quotient(multiple);
    }
    const std::uint64_t last = (kEnd - 1) / d * d;
    for (const std::uint64_t n : {std::uint64_t{0}, last - 1, last, kEnd - 1}) expect_quotient(n);
  }
}

}  // namespace
}  // namespace attune
