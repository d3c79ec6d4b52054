// What can go wrong around a library that is open: a clear status or the documented fallback, never a crash.
#include <dlfcn.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>

#include "c_api_fixture.h"
#include "templates/hopper_params.cuh"

namespace attune {
namespace {

using testing::HasSubstr;

class MisuseTest : public CApiTest {
 protected:
  std::filesystem::path cubin_file() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(cubins())) {
      if (entry.path().extension() == ".cubin") return entry.path();
    }
    return {};
  }
};

// The exit code of `body` in a forked child, or 100 + the signal that ended it.
int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

TEST_F(MisuseTest, AForkedChildIsRefusedAndMayEnd) {
  open_planted();
  ASSERT_EQ(forward(), ATTUNE_OK) << attune_last_error();
  const int code = in_child([&] {
    if (forward() != ATTUNE_CUDA) return 1;
    if (std::string(attune_last_error()).find("forked") == std::string::npos) return 2;
    if (forward(4096) != ATTUNE_CUDA) return 3;
    const attune_shape shape = c_shape();
    if (attune_prepare(library_, &shape, nullptr) != ATTUNE_CUDA) return 4;
    attune_close(library_);
    return gpu_->modules == 1 ? 0 : 5;  // the parent's kernels were not unloaded in its name
  });
  EXPECT_EQ(code, 0);
  EXPECT_EQ(forward(), ATTUNE_OK) << "the parent goes on";
}

TEST_F(MisuseTest, AChildOfAProcessThatUsedCudaIsToldWhyItCannotOpen) {
  plant();
  constexpr int kNotInitialized = 3, kNoDevice = 100;
  gpu_->count_code = kNotInitialized;
  EXPECT_EQ(open(database().c_str()), ATTUNE_CUDA);
  EXPECT_THAT(attune_last_error(),
              testing::AllOf(HasSubstr("forked"), HasSubstr("spawn"), HasSubstr("cuDeviceGetCount")));
  gpu_->count_code = kNoDevice;
  EXPECT_EQ(open(database().c_str()), ATTUNE_NO_GPU);
  EXPECT_THAT(attune_last_error(),
              testing::AllOf(HasSubstr("cuDeviceGetCount"), testing::Not(HasSubstr("fork"))));
}

TEST_F(MisuseTest, AChildMayOpenItsOwn) {
  plant();
  const int code =
      in_child([&] { return open(database().c_str()) == ATTUNE_OK && forward() == ATTUNE_OK ? 0 : 1; });
  EXPECT_EQ(code, 0);
}

TEST_F(MisuseTest, ADatabaseThatVanishesIsReadOnOrAnsweredByTheDefault) {
  plant(2048);
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(database() + suffix);
  const attune_info known = info();
  EXPECT_TRUE(known.provenance == ATTUNE_PROVENANCE_EXACT || known.provenance == ATTUNE_PROVENANCE_DEFAULT);
  EXPECT_EQ(forward(), ATTUNE_OK) << attune_last_error();
}

// As strict as a lock can be: no reader is let in while it lasts. attune_open() waits for some seconds.
TEST_F(MisuseTest, ADatabaseThatStaysLockedIsRefusedAndOpensLater) {
  plant();
  sqlite3* tuner = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &tuner), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(tuner, "PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM trials WHERE 0",
                         nullptr, nullptr, nullptr),
            SQLITE_OK)
      << sqlite3_errmsg(tuner);
  EXPECT_EQ(open(database().c_str()), ATTUNE_DATABASE);
  EXPECT_THAT(attune_last_error(), HasSubstr(database()));
  EXPECT_EQ(library_, nullptr);
  sqlite3_close(tuner);
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  EXPECT_EQ(info().provenance, ATTUNE_PROVENANCE_EXACT);
}

TEST_F(MisuseTest, ATunerThatWritesDoesNotDisturb) {
  open_planted();
  sqlite3* tuner = nullptr;
  ASSERT_EQ(sqlite3_open(database().c_str(), &tuner), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(tuner, "BEGIN IMMEDIATE; DELETE FROM trials", nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(tuner);
  EXPECT_EQ(info().provenance, ATTUNE_PROVENANCE_EXACT);
  sqlite3_close(tuner);
}

TEST_F(MisuseTest, ADamagedCubinIsNotLaunched) {
  plant();
  std::ofstream(cubin_file(), std::ios::trunc) << "\x7f"
                                                  "ELF and then nothing";
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  without_compiler([&] {
    EXPECT_EQ(forward(), ATTUNE_COMPILE);
    EXPECT_TRUE(gpu_->launches.empty());
    EXPECT_EQ(gpu_->modules, 0);
  });
}

TEST_F(MisuseTest, ADamagedCubinIsCompiledAgain) {
  plant();
  std::filesystem::resize_file(cubin_file(), 20);
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  EXPECT_EQ(info().provenance, ATTUNE_PROVENANCE_EXACT);
  EXPECT_EQ(forward(), ATTUNE_OK) << attune_last_error();
}

TEST_F(MisuseTest, ACubinThatTheDriverRefusesGivesWayToTheDefault) {
  open_planted();
  gpu_->module_loads_to_fail = 1;
  gpu_->argument_bytes = sizeof(HopperParams);  // the default is another template's
  const attune_info served = info();
  EXPECT_EQ(served.provenance, ATTUNE_PROVENANCE_DEFAULT);
  EXPECT_THAT(served.reason, HasSubstr("the record cannot be used"));
  EXPECT_EQ(forward(), ATTUNE_OK) << attune_last_error();
}

TEST_F(MisuseTest, AnUnwritableCacheFolderIsReplacedByATemporaryOne) {
  const char* old = std::getenv("ATTUNE_CACHE_DIR");
  const std::string before = old == nullptr ? "" : old;
  setenv("ATTUNE_CACHE_DIR", "/proc/attune", 1);  // not even root may create it
  setenv("TMPDIR", folder_.c_str(), 1);
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  options.log = [](attune_log_level, const char* text, void* user) {
    static_cast<std::vector<std::string>*>(user)->emplace_back(text);
  };
  options.log_user = &logged_;
  EXPECT_EQ(attune_open(&options, &library_), ATTUNE_OK) << attune_last_error();
  EXPECT_THAT(logged_,
              testing::Contains(testing::AllOf(HasSubstr("/proc/attune"), HasSubstr(folder_.string()))));
  // A folder that was asked for by name is not replaced behind the caller's back.
  options.cubins = "/proc/attune";
  attune_library* named = nullptr;
  EXPECT_EQ(attune_open(&options, &named), ATTUNE_INVALID_ARGUMENT);
  EXPECT_THAT(attune_last_error(), HasSubstr("/proc/attune"));
  unsetenv("TMPDIR");
  if (old == nullptr)
    unsetenv("ATTUNE_CACHE_DIR");
  else
    setenv("ATTUNE_CACHE_DIR", before.c_str(), 1);
}

TEST_F(MisuseTest, MisalignedAndOddlyStridedTensorsAreRefusedByTheHopperTemplateToo) {
  plant(2048, /*with_cubin=*/true, "hopper");
  ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  const attune_shape shape = c_shape();
  const auto refused = [&](auto change) {
    attune_tensors tensors = c_tensors(shape);
    change(tensors);
    EXPECT_EQ(attune_forward(library_, &shape, &tensors, 0, nullptr), ATTUNE_INVALID_ARGUMENT);
    return std::string(attune_last_error());
  };
  EXPECT_THAT(refused([](auto& t) { t.o.data = reinterpret_cast<void*>(kAddress + 8); }),
              HasSubstr("o is at"));
  EXPECT_THAT(refused([](auto& t) { t.v.head_stride = 1; }), HasSubstr("v has strides"));
  EXPECT_THAT(refused([](auto& t) { t.q.seq_stride = -128; }), HasSubstr("q has strides"));
  EXPECT_TRUE(gpu_->launches.empty());
}

// Opens, prepares and launches through libattune.so and ends without closing, with a handle alive.
TEST_F(MisuseTest, AProcessMayEndWithAHandleOpen) {
  plant();
  const std::string file = database();
  const std::string folder = cubins();
  const pid_t child = ::fork();
  if (child == 0) {
    ::execl(ATTUNE_EXIT_PROGRAM, ATTUNE_EXIT_PROGRAM, file.c_str(), folder.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace attune
