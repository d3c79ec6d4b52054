#include <dlfcn.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "c_api_fixture.h"
#include "cache/pack.h"
#include "runtime/choice.h"
#include "templates/attention_params.cuh"

namespace attune {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;

// Runs before the tests below open the fake: a driver stays open for the process's life.
class NoGpuTest : public RuntimeTest {};

TEST_F(NoGpuTest, OpenSaysSo) {
  setenv("ATTUNE_CUDA_DRIVER", "/nonexistent/libcuda.so.1", 1);
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  const std::string folder = cubins();
  options.cubins = folder.c_str();
  open_store();
  const std::string file = database();
  options.database = file.c_str();
  attune_library* library = nullptr;
  EXPECT_EQ(attune_open(&options, &library), ATTUNE_NO_GPU);
  EXPECT_EQ(library, nullptr);
  EXPECT_THAT(attune_last_error(), HasSubstr("no CUDA driver"));
}

AttentionParams argument_of(const FakeLaunch& launch) {
  AttentionParams params{};
  EXPECT_EQ(launch.argument.size(), sizeof(params));
  std::memcpy(&params, launch.argument.data(), sizeof(params));
  return params;
}

TEST_F(CApiTest, ServesAnExactRecordFromTheCubinStore) {
  open_planted();
  const attune_shape shape = c_shape();
  const attune_kernel* kernel = nullptr;
  ASSERT_EQ(attune_prepare(library_, &shape, &kernel), ATTUNE_OK) << attune_last_error();
  attune_info info{};
  info.struct_size = sizeof(info);
  ASSERT_EQ(attune_explain(kernel, &info), ATTUNE_OK);
  EXPECT_EQ(info.provenance, ATTUNE_PROVENANCE_EXACT);
  EXPECT_DOUBLE_EQ(info.expected_us, 60);
  EXPECT_STREQ(info.template_name, "portable");
  EXPECT_THAT(info.config_json, HasSubstr("block_sizes"));
  EXPECT_THAT(info.reason, HasSubstr("measured for this shape"));

  const attune_tensors tensors = c_tensors(shape);
  ASSERT_EQ(attune_forward(library_, &shape, &tensors, 0.5F, stream_of(64)), ATTUNE_OK)
      << attune_last_error();
  ASSERT_EQ(gpu_->launches.size(), 1U);
  EXPECT_EQ(gpu_->launches[0].stream, stream_of(64));
  const AttentionParams params = argument_of(gpu_->launches[0]);
  EXPECT_EQ(reinterpret_cast<std::uint64_t>(params.q), kAddress);
  EXPECT_EQ(params.q_heads, 32);
  EXPECT_EQ(params.kv_heads, 8);
  EXPECT_EQ(params.k_strides.head, 2048 * 128);
  EXPECT_EQ(params.scale, 0.5F);

  ASSERT_EQ(attune_kernel_forward(kernel, &tensors, 0, nullptr), ATTUNE_OK);
  EXPECT_FLOAT_EQ(argument_of(gpu_->launches[1]).scale, 1 / std::sqrt(128.0F));
}

TEST_F(CApiTest, PreparesOnceAndFoldsSquareMasks) {
  open_planted();
  attune_shape shape = c_shape();
  const attune_kernel* first = nullptr;
  const attune_kernel* second = nullptr;
  ASSERT_EQ(attune_prepare(library_, &shape, &first), ATTUNE_OK);
  shape.mask = ATTUNE_MASK_CAUSAL_TOP_LEFT;
  ASSERT_EQ(attune_prepare(library_, &shape, &second), ATTUNE_OK);
  EXPECT_EQ(first, second);
  EXPECT_EQ(gpu_->modules, 1);
}

TEST_F(CApiTest, ShapesOfOneClassShareTheirCode) {
  open_planted();  // the other lengths are served the same config
  const attune_kernel* kernels[3] = {};
  const std::int64_t lengths[] = {2048, 4096, 8192};
  for (int i = 0; i < 3; ++i) {
    const attune_shape shape = c_shape(lengths[i]);
    ASSERT_EQ(attune_prepare(library_, &shape, &kernels[i]), ATTUNE_OK) << attune_last_error();
  }
  EXPECT_NE(kernels[0], kernels[1]);
  EXPECT_NE(kernels[1], kernels[2]);
  EXPECT_EQ(gpu_->modules, 1);
}

TEST_F(CApiTest, AMissPreparesUnlessCapturing) {
  open_planted();
  const attune_shape shape = c_shape();
  const attune_tensors tensors = c_tensors(shape);
  gpu_->capturing = true;
  EXPECT_EQ(attune_forward(library_, &shape, &tensors, 1, stream_of(64)), ATTUNE_NOT_PREPARED);
  EXPECT_THAT(attune_last_error(), HasSubstr("attune_prepare()"));
  EXPECT_TRUE(gpu_->launches.empty());
  gpu_->capturing = false;
  EXPECT_EQ(attune_forward(library_, &shape, &tensors, 1, stream_of(64)), ATTUNE_OK) << attune_last_error();
  gpu_->capturing = true;
  EXPECT_EQ(attune_forward(library_, &shape, &tensors, 1, stream_of(64)), ATTUNE_OK) << attune_last_error();
  EXPECT_EQ(gpu_->launches.size(), 2U);
}

TEST_F(CApiTest, ACaptureIsServedByTheKernelOfTheOtherLayout) {
  open_planted();
  const attune_shape prepared = c_shape();
  ASSERT_EQ(attune_prepare(library_, &prepared, nullptr), ATTUNE_OK) << attune_last_error();
  attune_shape shape = prepared;
  shape.layout = ATTUNE_BSHD;
  const attune_tensors tensors = c_tensors(shape);
  gpu_->capturing = true;
  ASSERT_EQ(attune_forward(library_, &shape, &tensors, 1, stream_of(64)), ATTUNE_OK) << attune_last_error();
  ASSERT_EQ(gpu_->launches.size(), 1U);
  const AttentionParams params = argument_of(gpu_->launches[0]);
  EXPECT_EQ(params.q_strides.head, 128) << "the caller's strides, not those of the prepared layout";
  EXPECT_EQ(params.q_strides.seq, 32 * 128);
  EXPECT_EQ(params.k_strides.seq, 8 * 128);

  shape.wants_lse = 1;  // is another kernel
  EXPECT_EQ(attune_forward(library_, &shape, &tensors, 1, stream_of(64)), ATTUNE_NOT_PREPARED);
}

TEST_F(CApiTest, RefusesBadShapes) {
  open_planted();
  const auto refused = [&](auto change) {
    attune_shape shape = c_shape();
    change(shape);
    const attune_kernel* kernel = nullptr;
    EXPECT_EQ(attune_prepare(library_, &shape, &kernel), ATTUNE_INVALID_ARGUMENT);
    EXPECT_EQ(kernel, nullptr);
    const attune_tensors tensors = c_tensors(c_shape());
    EXPECT_EQ(attune_forward(library_, &shape, &tensors, 1, nullptr), ATTUNE_INVALID_ARGUMENT);
    return std::string(attune_last_error());
  };
  EXPECT_THAT(refused([](auto& s) { s.head_dim = 7; }), HasSubstr("head_dim is 7"));
  EXPECT_THAT(refused([](auto& s) { s.kv_heads = 5; }), HasSubstr("not a multiple"));
  EXPECT_THAT(refused([](auto& s) { s.kv_heads = 0; }), HasSubstr("kv_heads is 0"));
  EXPECT_THAT(refused([](auto& s) { s.q_len = 0; }), HasSubstr("q_len is 0"));
  EXPECT_THAT(refused([](auto& s) { s.batch = -1; }), HasSubstr("batch is -1"));
  EXPECT_THAT(refused([](auto& s) { s.batch = INT64_MAX; }), HasSubstr("batch"));
  EXPECT_THAT(refused([](auto& s) { s.dtype = 9; }), HasSubstr("dtype 9"));
  EXPECT_THAT(refused([](auto& s) { s.mask = -1; }), HasSubstr("mask -1"));
  EXPECT_THAT(refused([](auto& s) { s.layout = 2; }), HasSubstr("layout 2"));
  EXPECT_THAT(refused([](auto& s) { s.struct_size = 0; }), HasSubstr("struct_size is 0"));
  EXPECT_THAT(refused([](auto& s) { s.struct_size = 1 << 30; }), HasSubstr("struct_size"));
}

TEST_F(CApiTest, RefusesBadTensors) {
  open_planted();
  const attune_shape shape = c_shape();
  const auto refused = [&](auto change, float scale = 1) {
    attune_tensors tensors = c_tensors(shape);
    change(tensors);
    EXPECT_EQ(attune_forward(library_, &shape, &tensors, scale, nullptr), ATTUNE_INVALID_ARGUMENT);
    return std::string(attune_last_error());
  };
  EXPECT_THAT(refused([](auto& t) { t.v.data = nullptr; }), HasSubstr("tensor v"));
  EXPECT_THAT(refused([](auto& t) { t.k.data = reinterpret_cast<void*>(kAddress + 2); }),
              HasSubstr("k is at"));
  EXPECT_THAT(refused([](auto& t) { t.q.seq_stride = 129; }), HasSubstr("q has strides"));
  EXPECT_THAT(refused([](auto& t) { t.struct_size = 8; }), HasSubstr("struct_size"));
  EXPECT_THAT(refused([](auto&) {}, -1.0F), HasSubstr("scale"));
  EXPECT_THAT(refused([](auto&) {}, NAN), HasSubstr("scale"));
  EXPECT_TRUE(gpu_->launches.empty());
}

TEST_F(CApiTest, RefusesNullPointers) {
  EXPECT_EQ(attune_open(nullptr, nullptr), ATTUNE_INVALID_ARGUMENT);
  EXPECT_EQ(attune_prepare(nullptr, nullptr, nullptr), ATTUNE_INVALID_ARGUMENT);
  EXPECT_EQ(attune_forward(nullptr, nullptr, nullptr, 1, nullptr), ATTUNE_INVALID_ARGUMENT);
  EXPECT_EQ(attune_kernel_forward(nullptr, nullptr, 1, nullptr), ATTUNE_INVALID_ARGUMENT);
  EXPECT_EQ(attune_explain(nullptr, nullptr), ATTUNE_INVALID_ARGUMENT);
  EXPECT_EQ(attune_contiguous_strides(nullptr, nullptr), ATTUNE_INVALID_ARGUMENT);
  attune_close(nullptr);
}

// A program built with a newer header has longer structs, whose new fields it may not use.
TEST_F(CApiTest, ANewerStructIsTakenWhenItsNewFieldsAreZero) {
  open_planted();
  struct Newer {
    attune_shape shape;
    std::int64_t window;
  } newer{c_shape(), 0};
  newer.shape.struct_size = sizeof(newer);
  EXPECT_EQ(attune_prepare(library_, &newer.shape, nullptr), ATTUNE_OK) << attune_last_error();
  newer.window = 128;
  EXPECT_EQ(attune_prepare(library_, &newer.shape, nullptr), ATTUNE_INVALID_ARGUMENT);
  EXPECT_THAT(attune_last_error(), HasSubstr("update the library"));
}

TEST_F(CApiTest, BadDatabasesAreRefused) {
  const std::string missing = (folder_ / "missing.db").string();
  EXPECT_EQ(open(missing.c_str()), ATTUNE_DATABASE);
  EXPECT_THAT(attune_last_error(), HasSubstr("missing.db"));
  const std::string text = (folder_ / "text.db").string();
  std::ofstream(text) << std::string(8192, 'x');
  EXPECT_EQ(open(text.c_str()), ATTUNE_DATABASE);
  EXPECT_THAT(attune_last_error(), HasSubstr("text.db"));
  EXPECT_EQ(open(folder_.c_str()), ATTUNE_DATABASE);
  EXPECT_EQ(library_, nullptr);
}

TEST_F(CApiTest, BadCubinFoldersAndDevicesAreRefused) {
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  const std::string file = (folder_ / "file").string();
  std::ofstream(file) << "x";
  options.cubins = file.c_str();
  EXPECT_EQ(attune_open(&options, &library_), ATTUNE_INVALID_ARGUMENT);
  const std::string folder = cubins();
  options.cubins = folder.c_str();
  options.device = 7;
  EXPECT_EQ(attune_open(&options, &library_), ATTUNE_NO_GPU);
  EXPECT_THAT(attune_last_error(), HasSubstr("no GPU 7"));
}

TEST_F(CApiTest, ARecordWithoutItsCubinNeedsACompiler) {
  plant(2048, /*with_cubin=*/false);
  without_compiler([&] {
    ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
    const attune_shape shape = c_shape();
    EXPECT_EQ(attune_prepare(library_, &shape, nullptr), ATTUNE_COMPILE);
    EXPECT_THAT(attune_last_error(), HasSubstr("/nonexistent/libnvrtc.so"));
  });
}

// What the default compiles to may be in the store, of any NVRTC 13; what is not needs one.
TEST_F(CApiTest, WithoutACompilerTheStoreServesWhatItHas) {
  open_store();
  const Shape shape = model_shape();
  const auto choice = choose_default(shape, h100(), "");
  ASSERT_TRUE(choice);
  publish(kernel_key(choice->tmpl->render(shape, h100(), choice->config), "sm_90a", "13.1"));
  without_compiler([&] {
    ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
    const attune_shape stored = c_shape(), other = c_shape(1000);
    EXPECT_EQ(attune_prepare(library_, &stored, nullptr), ATTUNE_OK) << attune_last_error();
    EXPECT_EQ(attune_prepare(library_, &other, nullptr), ATTUNE_COMPILE);
    EXPECT_THAT(attune_last_error(),
                AllOf(HasSubstr("is not in " + cubins()), HasSubstr("/nonexistent/libnvrtc.so")));
  });
}

// Records of an NVRTC that never was: the one whose code is in the store is as it was measured, the other one
// is compiled anew.
TEST_F(CApiTest, WhatAnotherNvrtcCompilesIsStaleInWhateverOrder) {
  constexpr std::int64_t kStored = 2048, kCompiled = 1000;
  plant();
  {
    const auto tmpl = find_template("portable");
    auto store = open_store();
    for (const std::int64_t length : {kStored, kCompiled}) {
      const Shape shape = model_shape(length);
      Trial trial = trial_of(**tmpl, (*tmpl)->default_config(shape, h100()), shape, 50);
      trial.nvrtc_version = "13.99";
      if (length == kCompiled) trial.cubin_key = "not there";
      must_add(*store, trial);
    }
  }
  const auto stale = [this](std::int64_t length) {
    const attune_info served = info(length);
    EXPECT_DOUBLE_EQ(served.expected_us, 50);
    return served.stale;
  };
  for (const bool stored_first : {true, false}) {
    ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
    for (const std::int64_t length :
         stored_first ? std::vector{kStored, kCompiled} : std::vector{kCompiled, kStored}) {
      EXPECT_EQ(stale(length), length == kCompiled ? 1 : 0);
    }
    attune_close(library_);
    library_ = nullptr;
  }
}

class PackedTest : public CApiTest {
 protected:
  PackedTest() { packs_ = (folder_ / "mine.pack.jsonl").string(); }

  // A pack of one record for c_shape().
  void write_pack(const SecretKey* key = nullptr) const {
    const auto tmpl = find_template("portable");
    Trial record = trial_of(**tmpl, (*tmpl)->default_config(model_shape(), h100()), model_shape(), 70);
    record.created_at = "2026-11-22T01:25:48Z";
    const auto bytes = to_pack(
        {.name = "", .path = "", .made_at = "now", .attune = "", .command = "", .commit = ""}, {record}, key);
    ASSERT_TRUE(bytes) << bytes.error().message;
    std::ofstream(packs_) << *bytes;
  }
};

TEST_F(PackedTest, APackServesWhatTheDatabaseLacks) {
  write_pack();
  plant(512);
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  const attune_shape shape = c_shape();
  const attune_kernel* kernel = nullptr;
  ASSERT_EQ(attune_prepare(library_, &shape, &kernel), ATTUNE_OK) << attune_last_error();
  attune_info info{};
  info.struct_size = sizeof(info);
  ASSERT_EQ(attune_explain(kernel, &info), ATTUNE_OK);
  EXPECT_EQ(info.provenance, ATTUNE_PROVENANCE_EXACT);
  EXPECT_DOUBLE_EQ(info.expected_us, 70);
  EXPECT_THAT(info.reason, HasSubstr("from the pack mine"));
}

TEST_F(PackedTest, WhereKeysAreTrustedAPackIsServedOnlyWhenOneOfThemSignedIt) {
  const SecretKey key = SecretKey::from_seed({1}), other = SecretKey::from_seed({2});
  const std::string keys = (folder_ / "keys").string();
  std::ofstream(keys) << key.public_key().to_string() << " the team\n";
  setenv("ATTUNE_TRUSTED_KEYS", keys.c_str(), 1);
  plant(512);
  for (const SecretKey* signer : {static_cast<const SecretKey*>(nullptr), &other}) {
    write_pack(signer);
    EXPECT_EQ(open(database().c_str()), ATTUNE_DATABASE);
    EXPECT_THAT(attune_last_error(), AllOf(HasSubstr("pack mine is"), HasSubstr(keys)));
  }
  // What the environment lists is told about, and not served from.
  setenv("ATTUNE_PACKS", packs_.c_str(), 1);
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  const std::string file = database(), folder = cubins();
  options.database = file.c_str();
  options.cubins = folder.c_str();
  options.log = [](attune_log_level, const char* text, void* user) {
    static_cast<std::vector<std::string>*>(user)->emplace_back(text);
  };
  options.log_user = &logged_;
  EXPECT_EQ(attune_open(&options, &library_), ATTUNE_OK) << attune_last_error();
  EXPECT_THAT(logged_, Contains(AllOf(HasSubstr("pack mine is"), HasSubstr("no pack is served from"))));
  attune_close(library_);
  library_ = nullptr;
  unsetenv("ATTUNE_PACKS");
  write_pack(&key);
  EXPECT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  unsetenv("ATTUNE_TRUSTED_KEYS");
}

TEST_F(CApiTest, APackThatCannotBeReadIsRefused) {
  packs_ = (folder_ / "bad.pack.jsonl").string();
  std::ofstream(packs_) << "PK";
  plant();
  EXPECT_EQ(open(database().c_str()), ATTUNE_DATABASE);
  EXPECT_THAT(attune_last_error(), HasSubstr("pack bad is not an attune pack"));
}

TEST_F(CApiTest, AProgramOfTheFirstVersionIsServed) {
  plant();
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  options.struct_size = offsetof(attune_open_options, packs);
  const std::string file = database(), folder = cubins();
  options.database = file.c_str();
  options.cubins = folder.c_str();
  EXPECT_EQ(attune_open(&options, &library_), ATTUNE_OK) << attune_last_error();
}

TEST_F(CApiTest, AMissIsQueuedForASweepWhereThatIsAsked) {
  plant();
  const auto wanted_after = [this](int32_t queue_misses) {
    queue_misses_ = queue_misses;
    EXPECT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
    for (const std::int64_t length : {2048, 1024}) {  // the first has an exact record
      const attune_shape shape = c_shape(length);
      EXPECT_EQ(attune_prepare(library_, &shape, nullptr), ATTUNE_OK) << attune_last_error();
      EXPECT_EQ(attune_prepare(library_, &shape, nullptr), ATTUNE_OK);
    }
    attune_close(library_);  // waits for the queue
    library_ = nullptr;
    return *open_store()->wanted();
  };
  EXPECT_THAT(wanted_after(-1), testing::IsEmpty());
  EXPECT_THAT(wanted_after(0), testing::IsEmpty());
  const auto wanted = wanted_after(1);
  ASSERT_EQ(wanted.size(), 1U);
  EXPECT_EQ(wanted[0].shape, model_shape(1024));
  EXPECT_EQ(wanted[0].gpu_name, "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(wanted[0].count, 1);
  EXPECT_EQ(wanted_after(1)[0].count, 2);
  setenv("ATTUNE_WANTED", "1", 1);
  EXPECT_EQ(wanted_after(0)[0].count, 3);
  unsetenv("ATTUNE_WANTED");
}

// A tuner that holds the database's lock must not stall a program: the miss is served, the count is dropped.
TEST_F(CApiTest, ALockedDatabaseDoesNotHoldUpAMiss) {
  plant();
  queue_misses_ = 1;
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  sqlite3* tuner = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &tuner), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(tuner, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const attune_shape shape = c_shape(1024);
  EXPECT_EQ(attune_prepare(library_, &shape, nullptr), ATTUNE_OK) << attune_last_error();
  attune_close(library_);
  library_ = nullptr;
  sqlite3_close(tuner);
  EXPECT_THAT(*open_store()->wanted(), testing::IsEmpty());
  EXPECT_THAT(logged_.back(), HasSubstr("is not queued for tuning"));
}

TEST_F(CApiTest, NamesItsStatusesAndVersion) {
  EXPECT_STREQ(attune_status_name(ATTUNE_OUT_OF_MEMORY), "ATTUNE_OUT_OF_MEMORY");
  EXPECT_STREQ(attune_status_name(static_cast<attune_status>(99)), "unknown attune_status");
  EXPECT_STREQ(attune_version(), ATTUNE_EXPECTED_VERSION);
}

TEST_F(CApiTest, LogsWhatServesAShape) {
  open_planted();
  const attune_shape shape = c_shape();
  ASSERT_EQ(attune_prepare(library_, &shape, nullptr), ATTUNE_OK);
  ASSERT_FALSE(logged_.empty());
  EXPECT_THAT(logged_.front(), HasSubstr("H100"));
  EXPECT_THAT(logged_.back(), HasSubstr("measured for this shape"));
}

TEST_F(CApiTest, TheSharedLibraryLoadsAndUnloads) {
  for (int i = 0; i < 3; ++i) {
    void* library = dlopen(ATTUNE_SHARED_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(library, nullptr) << dlerror();
    const auto version = reinterpret_cast<decltype(&attune_version)>(dlsym(library, "attune_version"));
    const auto open_it = reinterpret_cast<decltype(&attune_open)>(dlsym(library, "attune_open"));
    const auto last_error =
        reinterpret_cast<decltype(&attune_last_error)>(dlsym(library, "attune_last_error"));
    EXPECT_STREQ(version(), ATTUNE_EXPECTED_VERSION);
    EXPECT_EQ(open_it(nullptr, nullptr), ATTUNE_INVALID_ARGUMENT);
    EXPECT_STRNE(last_error(), "");
    EXPECT_EQ(dlclose(library), 0);
  }
}

}  // namespace
}  // namespace attune
