// What tests on a real GPU share. They skip, with a clear line, where there is none.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "compiler/compile_pool.h"
#include "compiler/driver.h"

namespace attune {

// The built `attune` program: ATTUNE_BINARY, else where the build puts it beside the tests.
inline std::string attune_binary() {
  if (const char* given = std::getenv("ATTUNE_BINARY")) return given;
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  return (self.parent_path().parent_path() / "bin" / "attune").string();
}

class GpuFixture : public testing::Test {
 protected:
  void SetUp() override {
    const auto driver = Driver::open();
    if (!driver) GTEST_SKIP() << "no GPU here: " << driver.error().message;
    const auto count = (*driver)->device_count();
    if (!count || *count == 0) GTEST_SKIP() << "no GPU here: the driver shows none";
    driver_ = *driver;
    folder_ =
        std::filesystem::path(testing::TempDir()) / "attune-gpu-tests";  // kernels are shared by the tests
    auto nvrtc = Nvrtc::open();
    ASSERT_TRUE(nvrtc) << nvrtc.error().message;
    auto store = CubinStore::open(folder_);
    ASSERT_TRUE(store) << store.error().message;
    pool_ = std::make_unique<CompilePool>(*nvrtc, *store, 8, std::chrono::seconds(60));
  }

  const Driver* driver_ = nullptr;
  std::filesystem::path folder_;
  std::unique_ptr<CompilePool> pool_;
};

}  // namespace attune
