// The worker process and its verification on a real GPU, with planted kernels: none that is wrong may pass,
// and none that faults or hangs may cost more than its trial.
#include "autotuner/gpu_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "gpu_fixture.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

using testing::HasSubstr;

const Shape kShape{.batch = 1,
                   .q_heads = 4,
                   .kv_heads = 2,
                   .q_len = 512,
                   .kv_len = 512,
                   .head_dim = 64,
                   .dtype = DType::bf16,
                   .mask = Mask::causal_bottom_right};

class GpuDeviceTest : public GpuFixture {
 protected:
  void SetUp() override {
    GpuFixture::SetUp();
    if (IsSkipped()) return;
    facts_ = *gpu_facts(0);
    auto cubins = compile_support(kShape, facts_.arch, *pool_);
    ASSERT_TRUE(cubins) << cubins.error().message;
    template_ = *find_template("portable");
    open(std::chrono::seconds(20));
  }

  void open(std::chrono::milliseconds evaluate_timeout) {
    auto cubins = compile_support(kShape, facts_.arch, *pool_);
    ASSERT_TRUE(cubins) << cubins.error().message;
    device_ = std::make_unique<GpuDevice>(
        facts_,
        WorkerSetup{.gpu = 0, .shape = kShape, .template_name = "portable", .policy = {}, .cubins = *cubins},
        GpuDeviceOptions{.worker_command = {attune_binary(), "worker"},
                         .evaluate_timeout = evaluate_timeout});
  }

  // The template's default config, its kernel replaced by `body` unless that is empty.
  Candidate candidate(const std::string& body) {
    const SpaceDefinition definition = template_->space(kShape, facts_);
    const Config config = template_->default_config(kShape, facts_);
    KernelSource source = template_->render(kShape, facts_, config);
    LaunchSpec launch = template_->launch_spec(kShape, facts_, config);
    if (!body.empty()) {
      source.text =
          "#include \"attention_params.cuh\"\nusing attune::AttentionParams;\nextern \"C\" __global__ void " +
          source.entry + "(const __grid_constant__ AttentionParams p) {\n" + body + "\n}\n";
      launch = {};
      launch.grid = {256, 1, 1};
      launch.block = {256, 1, 1};
    }
    const CompiledKernel kernel = pool_->compile(source, facts_.arch);
    EXPECT_EQ(kernel.outcome, CompileOutcome::ok) << kernel.log;
    Candidate result;
    result.config_json = canonical_json(config, definition);
    result.config_hash = config_hash(result.config_json);
    result.config = config;
    result.cubin_path = pool_->store().cubin_path(kernel.key).string();
    result.cubin_hash = kernel.cubin_hash;
    result.entry = kernel.entry;
    result.launch = launch;
    return result;
  }

  // Fills the output with one 16-bit value.
  static std::string fill(const std::string& value) {
    return "long long n = (long long)p.batch * p.o_strides.batch;\n"
           "for (long long i = blockIdx.x * 256ll + threadIdx.x; i < n; i += 65536)\n"
           "  static_cast<unsigned short*>(p.o)[i] = " +
           value + ";";
  }

  Measurement evaluate(const std::string& body) {
    const auto measurement = device_->evaluate(candidate(body), {});
    EXPECT_TRUE(measurement) << measurement.error().message;
    return measurement ? *measurement : Measurement{};
  }

  void expect_still_working() {
    const Measurement measurement = evaluate("");
    EXPECT_EQ(measurement.outcome, Outcome::ok) << measurement.message;
  }

  DeviceFacts facts_;
  const AttentionTemplate* template_ = nullptr;
  std::unique_ptr<GpuDevice> device_;
};

TEST_F(GpuDeviceTest, TheTemplatesDefaultPassesAndIsTimed) {
  const Measurement measurement = evaluate("");
  ASSERT_EQ(measurement.outcome, Outcome::ok) << measurement.message;
  EXPECT_LE(*measurement.relative_error, relative_tolerance(DType::bf16));
  EXPECT_GT(*measurement.relative_error,
            1e-4);  // a bf16 kernel cannot be that exact: the check would be void
  EXPECT_GT(measurement.timing->median_us, 1.0);
  EXPECT_GE(measurement.timing->samples, 9);
}

TEST_F(GpuDeviceTest, AllZeroOutputFails) {
  const Measurement measurement = evaluate(fill("0"));
  EXPECT_EQ(measurement.outcome, Outcome::wrong_answer);
  EXPECT_NEAR(*measurement.relative_error, 1.0, 1e-6);
  expect_still_working();
}

TEST_F(GpuDeviceTest, NanOutputFails) {
  const Measurement measurement = evaluate(fill("0x7fc0"));
  EXPECT_EQ(measurement.outcome, Outcome::wrong_answer);
  EXPECT_THAT(measurement.message, HasSubstr("NaN"));
}

TEST_F(GpuDeviceTest, AnOutputThatIsNotWrittenFails) {
  const Measurement measurement = evaluate("");
  ASSERT_EQ(measurement.outcome, Outcome::ok);  // leaves the right answer in memory
  EXPECT_EQ(evaluate("if (p.batch < 0) *static_cast<unsigned short*>(p.o) = 0;").outcome,
            Outcome::wrong_answer);
}

TEST_F(GpuDeviceTest, AnIllegalAddressCostsOneTrial) {
  const Measurement measurement = evaluate("*reinterpret_cast<volatile int*>(0x10) = 1;");
  EXPECT_EQ(measurement.outcome, Outcome::launch_fault);
  EXPECT_THAT(measurement.message, HasSubstr("CUDA_ERROR_ILLEGAL_ADDRESS"));
  expect_still_working();
}

TEST_F(GpuDeviceTest, AHangCostsOneTrial) {
  open(std::chrono::seconds(3));
  expect_still_working();
  const Measurement measurement =
      evaluate("volatile int* flag = reinterpret_cast<volatile int*>(p.o); while (*flag != 123456789) {}");
  EXPECT_EQ(measurement.outcome, Outcome::timeout);
  expect_still_working();
}

TEST_F(GpuDeviceTest, TooMuchSharedMemoryIsAFaultOfTheCandidate) {
  Candidate planted = candidate("");
  planted.launch.smem_bytes = 1 << 20;
  const auto measurement = device_->evaluate(planted, {});
  ASSERT_TRUE(measurement) << measurement.error().message;
  EXPECT_EQ(measurement->outcome, Outcome::launch_fault);
  expect_still_working();
}

TEST_F(GpuDeviceTest, AClearLoserIsDroppedEarly) {
  const auto measurement = device_->evaluate(candidate(""), 0.5);
  ASSERT_TRUE(measurement) << measurement.error().message;
  EXPECT_EQ(measurement->outcome, Outcome::slow);
  EXPECT_EQ(measurement->timing->samples, 3);
}

TEST_F(GpuDeviceTest, TheShootOutDropsAWrongAnswer) {
  const auto measurements = device_->shoot_out({candidate(""), candidate(fill("0"))}, 5);
  ASSERT_TRUE(measurements) << measurements.error().message;
  EXPECT_EQ(measurements->at(0).outcome, Outcome::ok) << measurements->at(0).message;
  ASSERT_TRUE(measurements->at(0).timing) << measurements->at(1).message;
  EXPECT_EQ(measurements->at(1).outcome, Outcome::wrong_answer) << measurements->at(1).message;
}

TEST_F(GpuDeviceTest, TheShootOutFindsARace) {
  // Writes outputs that depend on the time. (Not clock() or clock64(): ptxas 13.0 narrows them to a 64-bit
  // CS2R into an odd register, which is an illegal instruction.)
  const std::string racy = fill(
      "[] { unsigned t; asm volatile(\"mov.u32 %0, %%globaltimer_lo;\" : \"=r\"(t)); "
      "return static_cast<unsigned short>(t >> 5 & 0x3f); }()");
  const auto measurements = device_->shoot_out({candidate(""), candidate(racy)}, 5);
  ASSERT_TRUE(measurements) << measurements.error().message;
  EXPECT_EQ(measurements->at(0).outcome, Outcome::ok) << measurements->at(0).message;
  ASSERT_TRUE(measurements->at(0).timing) << measurements->at(1).message;
  EXPECT_EQ(measurements->at(0).timing->samples, 5);
  EXPECT_EQ(measurements->at(1).outcome, Outcome::wrong_answer) << measurements->at(1).message;
}

}  // namespace
}  // namespace attune
