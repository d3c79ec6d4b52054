#include "templates/portable_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "templates/portable_config.h"

namespace attune {
namespace {

using ::testing::HasSubstr;

const std::vector<std::string> kArchs{"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"};

DeviceFacts device(const std::string& arch) {
  return *nominal_facts(arch);
}

Shape dense() {
  return {.batch = 4, .q_heads = 32, .kv_heads = 32, .q_len = 4096, .kv_len = 4096, .head_dim = 128};
}

std::vector<Shape> assorted_shapes() {
  std::vector<Shape> shapes;
  for (std::int64_t head_dim = 8; head_dim <= 256; head_dim += 8) {
    for (auto [q_len, kv_len] :
         {std::pair{1, 1}, {1, 4096}, {512, 512}, {113, 203}, {799, 3}, {4096, 4096}}) {
      for (auto [q_heads, kv_heads] : {std::pair{1, 1}, {32, 32}, {14, 2}, {16, 1}}) {
        Shape shape{
            .q_heads = q_heads, .kv_heads = kv_heads, .q_len = q_len, .kv_len = kv_len, .head_dim = head_dim};
        shapes.push_back(*validated(shape));
        shape.mask = Mask::causal_bottom_right;
        shapes.push_back(*validated(shape));
      }
    }
  }
  return shapes;
}

Config changed(Config config, const std::string& axis, AxisValue value) {
  config.set(axis, std::move(value));
  return config;
}

std::string reason(const Shape& shape, const DeviceFacts& on, const Config& config) {
  const Status status = check_config(config, portable_template().space(shape, on));
  return status ? "" : status.error().message;
}

TEST(PortableDefault, IsLegalForEveryShapeOnEveryDevice) {
  for (const std::string& arch : kArchs) {
    for (const Shape& shape : assorted_shapes()) {
      ASSERT_TRUE(portable_template().supports(shape, device(arch)));
      const Config config = portable_template().default_config(shape, device(arch));
      EXPECT_EQ(reason(shape, device(arch), config), "") << arch << ' ' << to_string(shape);
    }
  }
}

TEST(PortableDefault, FillsTheChip) {
  const DeviceFacts h100 = device("sm_90a");
  const Shape dense_shape = dense();
  const Config wide = portable_template().default_config(dense_shape, h100);
  EXPECT_EQ(wide.integer("block_m"), 128);
  const Shape shorter{
      .q_heads = 14, .kv_heads = 2, .q_len = 512, .kv_len = 512, .mask = Mask::causal_bottom_right};
  EXPECT_GE(portable_template()
                .launch_spec(shorter, h100, portable_template().default_config(shorter, h100))
                .grid[0],
            static_cast<unsigned>(h100.sm_count));
  const Shape decode{.q_heads = 32, .kv_heads = 8, .q_len = 1, .kv_len = 4096, .head_dim = 128};
  EXPECT_EQ(portable_template().default_config(decode, h100).integer("packed_heads"), 4);
}

TEST(PortableJson, FollowsHelion) {
  const Shape shape = dense();
  const SpaceDefinition space = portable_template().space(shape, device("sm_90a"));
  const Config config = portable_template().default_config(shape, device("sm_90a"));
  const nlohmann::json json = config_to_json(config, space);
  EXPECT_EQ(json.at("block_sizes"), nlohmann::json({1, 128, 32}));
  EXPECT_EQ(json.at("load_eviction_policies"), nlohmann::json({"", "", ""}));
  EXPECT_EQ(json.at("loop_orders"), nlohmann::json::array({nlohmann::json({0, 1})}));
  EXPECT_EQ(json.at("pid_type"), "flat");
  EXPECT_FALSE(json.contains("num_sm_multiplier"));
  EXPECT_FALSE(json.contains("row_order"));
  const auto read = config_from_json(json, space);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, config);
}

TEST(PortableRules, SayWhy) {
  const Shape shape = dense();
  const DeviceFacts h100 = device("sm_90a"), a6000 = device("sm_86");
  const Config base = portable_template().default_config(shape, h100);
  EXPECT_THAT(reason(shape, h100, changed(base, "num_warps", std::int64_t{16})),
              HasSubstr("multiple of 16 rows"));
  EXPECT_THAT(reason(shape, h100, changed(base, "num_warps", std::int64_t{1})), HasSubstr("rows a warp"));
  EXPECT_THAT(reason(shape, h100, changed(base, "kv_split", std::int64_t{8})),
              HasSubstr("do not form 8 groups"));
  EXPECT_THAT(reason(shape, h100, changed(base, "kv_split", std::int64_t{4})),
              HasSubstr("multiple of 16 columns"));
  EXPECT_THAT(reason(shape, a6000, changed(base, "block_n", std::int64_t{192})), HasSubstr("shared memory"));
  EXPECT_THAT(reason(shape, h100, changed(base, "block_n", std::int64_t{128})),
              HasSubstr("registers a thread"));
  EXPECT_THAT(reason(shape, h100, changed(base, "maxnreg", std::int64_t{80})),
              HasSubstr("maxnreg 80 spills"));
  EXPECT_THAT(reason(shape, h100, changed(base, "row_order", std::string("paired"))), HasSubstr("row_order"));
  Config grouped = changed(base, "l2_grouping", std::int64_t{8});
  EXPECT_EQ(reason(shape, h100, grouped), "");
  grouped.set("loop_order", std::string("[1,0]"));
  EXPECT_THAT(reason(shape, h100, grouped), HasSubstr("needs loop_orders"));

  const Shape small = *validated(Shape{.q_heads = 4, .kv_heads = 4, .q_len = 100, .kv_len = 100});
  Config few = portable_template().default_config(small, h100);
  few.set("pid_type", std::string("persistent_blocked"));
  few.set("num_sm_multiplier", std::int64_t{1});
  EXPECT_THAT(reason(small, h100, few), HasSubstr("the same as flat"));
  EXPECT_THAT(reason(small, h100,
                     changed(portable_template().default_config(small, h100), "num_stages", std::int64_t{4})),
              HasSubstr("4 stages for 2 blocks"));
}

// Legal configs of a space narrowed to `keep` (axis -> values), found by walking all combinations.
void walk(const SpaceDefinition& space, std::size_t index, Config config, std::vector<Config>& out) {
  if (index == space.axes.size()) {
    if (check_config(config, space)) out.push_back(config);
    return;
  }
  const Axis& axis = space.axes[index];
  if (axis.active && !axis.active(config)) return walk(space, index + 1, config, out);
  for (const AxisValue& value : axis.values) {
    config.set(axis.name, value);
    walk(space, index + 1, config, out);
  }
}

TEST(PortableSpace, NoTwoConfigsRenderAndLaunchTheSame) {
  const Shape shape = *validated(Shape{.q_heads = 8,
                                       .kv_heads = 4,
                                       .q_len = 512,
                                       .kv_len = 512,
                                       .head_dim = 64,
                                       .mask = Mask::causal_bottom_right});
  SpaceDefinition space = portable_template().space(shape, device("sm_90a"));
  const std::map<std::string, std::vector<AxisValue>> keep{{"block_m", {std::int64_t{32}, std::int64_t{64}}},
                                                           {"block_n", {std::int64_t{64}}},
                                                           {"num_warps", {std::int64_t{4}}},
                                                           {"num_stages", {std::int64_t{1}, std::int64_t{2}}},
                                                           {"evict_k", {std::string()}},
                                                           {"evict_q", {std::string(), std::string("first")}},
                                                           {"evict_v", {std::string()}},
                                                           {"unroll", {std::int64_t{1}, std::int64_t{2}}}};
  for (Axis& axis : space.axes) {
    if (const auto it = keep.find(axis.name); it != keep.end()) axis.values = it->second;
  }
  std::vector<Config> configs;
  walk(space, 0, {}, configs);
  ASSERT_GT(configs.size(), 500U);
  std::set<std::string> seen;
  for (const Config& config : configs) {
    const LaunchSpec spec = portable_template().launch_spec(shape, device("sm_90a"), config);
    const KernelSource source = portable_template().render(shape, device("sm_90a"), config);
    EXPECT_TRUE(seen.insert(fmt::format("{} {} {}", source.text, spec.grid[0], spec.smem_bytes)).second)
        << canonical_json(config, space);
  }
}

TEST(PortableRender, DependsOnTheClassOfTheShapeOnly) {
  const DeviceFacts h100 = device("sm_90a");
  const Shape shape = dense();
  const Config config = portable_template().default_config(shape, h100);
  const auto text = [&](Shape other) {
    return portable_template().render(*validated(other), h100, config).text;
  };
  Shape other = shape;
  other.batch = 1, other.q_heads = 8, other.kv_heads = 2, other.q_len = 77, other.kv_len = 2048;
  other.layout = Layout::bshd;
  EXPECT_EQ(text(shape), text(other));
  for (auto change : {+[](Shape& s) { s.kv_len = 4095; }, +[](Shape& s) { s.dtype = DType::fp16; },
                      +[](Shape& s) { s.mask = Mask::causal_top_left; }, +[](Shape& s) { s.head_dim = 120; },
                      +[](Shape& s) { s.wants_lse = true; }}) {
    other = shape;
    change(other);
    EXPECT_NE(text(shape), text(other));
  }
  // A bottom-right mask of one query hides nothing.
  other = shape;
  other.q_len = 1;
  const std::string open = text(other);
  other.mask = Mask::causal_bottom_right;
  EXPECT_EQ(open, text(other));
}

class PortableBind : public ::testing::Test {
 protected:
  PortableBind() {
    const TensorStrides strides = contiguous_strides(Layout::bhsd, 32, 4096, 128);
    tensors = {.q = 0x1000,
               .k = 0x2000,
               .v = 0x3000,
               .o = 0x4000,
               .q_strides = strides,
               .k_strides = strides,
               .v_strides = strides,
               .o_strides = strides,
               .scale = 0.1F};
  }
  std::string problem(const Shape& shape) const {
    const auto bound = portable_template().bind(shape, config, {}, tensors);
    return bound ? "" : bound.error().message;
  }
  Config config = portable_template().default_config(dense(), device("sm_90a"));
  AttentionTensors tensors;
};

TEST_F(PortableBind, PacksTheParameters) {
  const auto bound = portable_template().bind(dense(), config, {}, tensors);
  ASSERT_TRUE(bound) << bound.error().message;
  EXPECT_EQ(bound->size, sizeof(AttentionParams));
  EXPECT_EQ(problem(dense()), "");
}

TEST_F(PortableBind, NamesTheTensorAndTheReason) {
  tensors.k = 0x2008;
  EXPECT_THAT(problem(dense()), HasSubstr("k is at 0x2008"));
  tensors.k = 0x2000;
  tensors.v_strides.seq = 132;
  EXPECT_THAT(problem(dense()), HasSubstr("v has strides"));
  tensors.v_strides.seq = std::int64_t{1} << 22;
  EXPECT_THAT(problem(dense()), HasSubstr("v has a seq stride of 4194304"));
  tensors.v_strides.seq = 128;
  tensors.o = 0;
  EXPECT_THAT(problem(dense()), HasSubstr("o is a null pointer"));
  tensors.o = 0x4000;
  tensors.scale = 0;
  EXPECT_THAT(problem(dense()), HasSubstr("scale"));
  tensors.scale = 1;
  Shape shape = dense();
  shape.wants_lse = true;
  EXPECT_THAT(problem(shape), HasSubstr("lse"));
}

TEST_F(PortableBind, IgnoresStridesOfSingleDimensions) {
  Shape shape = dense();
  shape.batch = 1;
  tensors.q_strides.batch = 3;
  EXPECT_EQ(problem(shape), "");
}

TEST(AttentionTemplate, IsFoundByName) {
  ASSERT_TRUE(find_template("portable"));
  EXPECT_EQ((*find_template("portable"))->name(), "portable");
  EXPECT_THAT(find_template("cutlass").error().message, HasSubstr("portable"));
  EXPECT_EQ(portable_template().hash().size(), 16U);
}

TEST(AttentionFlops, CountsWhatTheMaskLeaves) {
  const auto flops = [](std::int64_t q_len, std::int64_t kv_len, Mask mask) {
    return attention_flops(*validated(Shape{.q_len = q_len, .kv_len = kv_len, .head_dim = 8, .mask = mask})) /
           32;
  };
  EXPECT_EQ(flops(10, 20, Mask::none), 200);
  EXPECT_EQ(flops(10, 10, Mask::causal_bottom_right), 50);  // the field's convention, not 55
  const auto count = [](std::int64_t q_len, std::int64_t kv_len, std::int64_t offset) {
    double pairs = 0;
    for (std::int64_t i = 0; i < q_len; ++i) {
      for (std::int64_t j = 0; j < kv_len; ++j) pairs += j <= i + offset;
    }
    return pairs;
  };
  for (auto [q, k] : {std::pair{3, 7}, {7, 3}, {1, 9}, {9, 1}, {100, 64}}) {
    EXPECT_EQ(flops(q, k, Mask::causal_bottom_right), count(q, k, k - q)) << q << ' ' << k;
    EXPECT_EQ(flops(q, k, Mask::causal_top_left), count(q, k, 0)) << q << ' ' << k;
  }
}

TEST(ContiguousStrides, FollowTheLayout) {
  const TensorStrides bhsd = contiguous_strides(Layout::bhsd, 4, 100, 64),
                      bshd = contiguous_strides(Layout::bshd, 4, 100, 64);
  EXPECT_EQ(bhsd.batch, 25600);
  EXPECT_EQ(bhsd.head, 6400);
  EXPECT_EQ(bhsd.seq, 64);
  EXPECT_EQ(bshd.batch, 25600);
  EXPECT_EQ(bshd.head, 64);
  EXPECT_EQ(bshd.seq, 256);
}

}  // namespace
}  // namespace attune
