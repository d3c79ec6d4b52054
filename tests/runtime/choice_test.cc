#include "runtime/choice.h"

#include "runtime_fixture.h"

namespace attune {
namespace {

using testing::HasSubstr;

// Sizes up to the length are legal; the source depends on the size and on the mask alone.
class SmallTemplate final : public AttentionTemplate {
 public:
  explicit SmallTemplate(std::string hash = "now") : hash_(std::move(hash)) {}
  std::string_view name() const override { return "small"; }
  std::string_view hash() const override { return hash_; }
  Status supports(const Shape& shape, const DeviceFacts&) const override {
    if (shape.head_dim > 128) return fail("head_dim {} is beyond 128", shape.head_dim);
    return {};
  }
  SpaceDefinition space(const Shape& shape, const DeviceFacts&) const override {
    SpaceDefinition definition;
    definition.axes.push_back({.name = "size",
                               .pointer = "/size",
                               .values = {std::int64_t{64}, std::int64_t{128}, std::int64_t{4096}},
                               .help = ""});
    const auto too_long = [length = shape.q_len](const Config& config) -> std::optional<std::string> {
      if (config.integer("size") <= length) return {};
      return "longer than the sequence";
    };
    definition.rules.push_back({.name = "length", .reads = {"size"}, .check = too_long});
    return definition;
  }
  Config default_config(const Shape&, const DeviceFacts&) const override { return config(64); }
  KernelSource render(const Shape& shape, const DeviceFacts&, const Config& config) const override {
    return {.name = "small.cu",
            .text = std::to_string(config.integer("size")) + (shape.q_len % 128 == 0 ? "" : " ragged"),
            .headers = {},
            .options = {},
            .entry = "small"};
  }
  LaunchSpec launch_spec(const Shape&, const DeviceFacts&, const Config&) const override { return {}; }
  Result<KernelArgument> bind(const Shape&, const Config&, const AttentionTensors&) const override {
    return KernelArgument{};
  }

  static Config config(std::int64_t size) {
    Config config;
    config.set("size", size);
    return config;
  }

 private:
  std::string hash_;
};

class ChoiceTest : public RuntimeTest {
 protected:
  Choice must_choose(const Shape& shape, const DeviceFacts& device = h100()) {
    auto choice = choose(shape, device, store_.get(), templates_);
    EXPECT_TRUE(choice) << choice.error().message;
    return *std::move(choice);
  }
  void plant(std::int64_t size, const Shape& shape, double us, const DeviceFacts& device = h100()) {
    must_add(*store_, trial_of(small_, SmallTemplate::config(size), shape, us, device));
  }

  const SmallTemplate small_;
  const AttentionTemplate* const all_[1] = {&small_};
  const std::span<const AttentionTemplate* const> templates_ = all_;
  const std::unique_ptr<TrialStore> store_ = open_store();
};

TEST_F(ChoiceTest, WithoutADatabaseIsTheDefault) {
  const auto choice = choose(model_shape(), h100(), nullptr, templates_);
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->provenance, ATTUNE_PROVENANCE_DEFAULT);
  EXPECT_EQ(choice->config_json, R"({"size":64})");
  EXPECT_EQ(choice->expected_us, 0);
  EXPECT_EQ(choice->cubin_key, "");
  EXPECT_THAT(choice->reason, HasSubstr("no database"));
}

TEST_F(ChoiceTest, AnEmptyDatabaseIsTheDefault) {
  const Choice choice = must_choose(model_shape());
  EXPECT_EQ(choice.provenance, ATTUNE_PROVENANCE_DEFAULT);
  EXPECT_THAT(choice.reason, HasSubstr("attune tune"));
}

TEST_F(ChoiceTest, TheFastestExactRecordAnswers) {
  plant(64, model_shape(), 80);
  plant(128, model_shape(), 60);
  const Choice choice = must_choose(model_shape());
  EXPECT_EQ(choice.provenance, ATTUNE_PROVENANCE_EXACT);
  EXPECT_EQ(choice.config.integer("size"), 128);
  EXPECT_DOUBLE_EQ(choice.expected_us, 60);
  EXPECT_EQ(choice.cubin_key, "planted");
  EXPECT_FALSE(choice.stale);
}

TEST_F(ChoiceTest, ARecordOfAFormerKernelServesItsOwnShapeUntilThereIsACurrentOne) {
  const SmallTemplate old("before");
  must_add(*store_, trial_of(old, SmallTemplate::config(128), model_shape(), 10));
  const Choice former = must_choose(model_shape());
  EXPECT_EQ(former.provenance, ATTUNE_PROVENANCE_EXACT);
  EXPECT_EQ(former.config.integer("size"), 128);
  EXPECT_TRUE(former.stale);
  EXPECT_TRUE(former.former_kernel) << "so that the shape is wanted";
  EXPECT_EQ(former.cubin_key, "") << "its machine code is the former kernel's";
  EXPECT_EQ(must_choose(model_shape(4096)).provenance, ATTUNE_PROVENANCE_DEFAULT) << "no other shape's";
  plant(64, model_shape(), 80);
  const Choice current = must_choose(model_shape());
  EXPECT_EQ(current.config.integer("size"), 64) << "slower, and of today's kernel";
  EXPECT_FALSE(current.stale);
}

TEST_F(ChoiceTest, ARecordOfAFormerKernelAnswersBeforeANearOne) {
  must_add(*store_, trial_of(SmallTemplate("before"), SmallTemplate::config(128), model_shape(2048), 10));
  plant(64, model_shape(4096), 80);
  EXPECT_EQ(must_choose(model_shape(2048)).config.integer("size"), 128);
}

TEST_F(ChoiceTest, ANearRecordAnswersWithScaledTime) {
  plant(128, model_shape(2048), 60);
  const Choice choice = must_choose(model_shape(4096));
  EXPECT_EQ(choice.provenance, ATTUNE_PROVENANCE_NEAR);
  EXPECT_EQ(choice.config.integer("size"), 128);
  EXPECT_NEAR(choice.expected_us, 240, 1e-6);
  EXPECT_EQ(choice.cubin_key, "planted") << "the same source: the record's cubin serves";
}

TEST_F(ChoiceTest, ANearRecordOfOtherCodeIsCompiledAgain) {
  plant(128, model_shape(2048), 60);
  const Choice choice = must_choose(model_shape(2000));
  EXPECT_EQ(choice.provenance, ATTUNE_PROVENANCE_NEAR);
  EXPECT_EQ(choice.cubin_key, "");
}

TEST_F(ChoiceTest, ANearRecordThatIsIllegalHereIsPassedOver) {
  plant(4096, model_shape(4096), 100);
  EXPECT_EQ(must_choose(model_shape(2048)).provenance, ATTUNE_PROVENANCE_DEFAULT);
}

TEST_F(ChoiceTest, ARecordTooFarAwayIsNotUsed) {
  plant(128, model_shape(8192), 60);
  EXPECT_EQ(must_choose(model_shape(2048)).provenance, ATTUNE_PROVENANCE_NEAR);
  const Choice far = must_choose(model_shape(512));
  EXPECT_EQ(far.provenance, ATTUNE_PROVENANCE_DEFAULT);
  EXPECT_THAT(far.reason, HasSubstr("too far"));
}

TEST_F(ChoiceTest, AnotherGpuOfTheArchIsNearAndComesSecond) {
  DeviceFacts other = h100();
  other.name = "NVIDIA H100 PCIe";
  plant(128, model_shape(), 10, other);
  EXPECT_EQ(must_choose(model_shape()).provenance, ATTUNE_PROVENANCE_NEAR);
  plant(64, model_shape(), 80);
  const Choice own = must_choose(model_shape());
  EXPECT_EQ(own.provenance, ATTUNE_PROVENANCE_EXACT);
  EXPECT_EQ(own.config.integer("size"), 64);
}

TEST_F(ChoiceTest, AnotherArchNeverAnswers) {
  DeviceFacts a100 = *nominal_facts("sm_80");
  a100.name = "NVIDIA A100";
  plant(128, model_shape(), 10, a100);
  EXPECT_EQ(must_choose(model_shape()).provenance, ATTUNE_PROVENANCE_DEFAULT);
}

TEST_F(ChoiceTest, AnotherNvrtcThanTheRecordsMakesAChoiceStale) {
  plant(128, model_shape(), 60);
  const Choice chosen = must_choose(model_shape());
  const auto source = small_.render(model_shape(), h100(), chosen.config);
  const auto with_kernel = [&](const std::string& key) {
    Choice choice = chosen;
    note_kernel(choice, model_shape(), h100(), key);
    return choice;
  };
  EXPECT_FALSE(with_kernel("planted").stale) << "the record's own machine code";
  EXPECT_FALSE(with_kernel(kernel_key(source, "sm_90a", "13.0")).stale);
  const Choice other = with_kernel(kernel_key(source, "sm_90a", "13.1"));
  EXPECT_TRUE(other.stale);
  EXPECT_EQ(other.provenance, ATTUNE_PROVENANCE_EXACT) << "served nevertheless";
  EXPECT_THAT(other.reason, HasSubstr("another NVRTC than the 13.0"));
}

TEST_F(ChoiceTest, AShapeThatNoTemplateServesIsAnErrorWithReasons) {
  Shape shape = model_shape();
  shape.head_dim = 256;
  const auto choice = choose(shape, h100(), store_.get(), templates_);
  ASSERT_FALSE(choice);
  EXPECT_THAT(choice.error().message, HasSubstr("small: head_dim 256 is beyond 128"));
}

}  // namespace
}  // namespace attune
