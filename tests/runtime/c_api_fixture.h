// The C API on the fake GPU, with a planted record and cubin.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "attune/attune.hpp"
#include "base/hash.h"
#include "compiler/cubin_store.h"
#include "fake_gpu.h"
#include "runtime_fixture.h"

namespace attune {

inline constexpr std::uint64_t kAddress = 0x7f0000000000;

inline attune_shape c_shape(std::int64_t length = 2048) {
  attune_shape shape = attune_api::square_shape(1, 32, length, 128, /*causal=*/true);
  shape.kv_heads = 8;
  return shape;
}

inline attune_tensors c_tensors(const attune_shape& shape) {
  const auto at = [](int i) {
    return reinterpret_cast<void*>(kAddress + static_cast<std::uint64_t>(i) * 0x10000000);
  };
  return attune_api::contiguous_tensors(shape, at(0), at(1), at(2), at(3));
}

inline CUstream_st* stream_of(std::uintptr_t value) {
  return reinterpret_cast<CUstream_st*>(value);
}

class CApiTest : public RuntimeTest {
 protected:
  CApiTest() {
    setenv("ATTUNE_CUDA_DRIVER", ATTUNE_FAKE_GPU, 1);
    void* fake = dlopen(ATTUNE_FAKE_GPU, RTLD_NOW | RTLD_LOCAL);
    gpu_ = fake == nullptr ? nullptr : reinterpret_cast<FakeGpu* (*)()>(dlsym(fake, "fake_gpu"))();
    if (gpu_ != nullptr) *gpu_ = FakeGpu{};
  }
  ~CApiTest() override {
    attune_close(library_);
    if (gpu_ != nullptr) {
      EXPECT_EQ(gpu_->modules, 0);
      EXPECT_EQ(gpu_->retained, 0);
      EXPECT_EQ(gpu_->contexts_pushed, 0);
    }
  }

  attune_status open(const char* database, int device = ATTUNE_CURRENT_DEVICE) {
    return open(database, device, library_);
  }
  attune_status open(const char* database, int device, attune_library*& library) {
    attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
    const std::string folder = cubins();
    options.database = database;
    options.cubins = folder.c_str();
    options.packs = packs_.c_str();
    options.queue_misses = queue_misses_;
    options.log = [](attune_log_level, const char* text, void* user) {
      auto& test = *static_cast<CApiTest*>(user);
      const std::lock_guard lock(test.logging_);
      test.logged_.emplace_back(text);
    };
    options.log_user = this;
    options.device = device;
    return attune_open(&options, &library);
  }

  // A database with an exact record of c_shape(length), and its cubin.
  void plant(std::int64_t length = 2048, bool with_cubin = true, std::string_view name = "portable") {
    const auto tmpl = find_template(name);
    ASSERT_TRUE(tmpl);
    const Shape shape = model_shape(length);
    auto store = open_store();
    must_add(*store, trial_of(**tmpl, (*tmpl)->default_config(shape, h100()), shape, 60));
    if (with_cubin) publish("planted");
  }
  // A cubin under this key in the store, which the fake GPU takes for any kernel's.
  void publish(const std::string& key) {
    auto folder = CubinStore::open(cubins());
    ASSERT_TRUE(folder);
    CompiledKernel kernel;
    kernel.outcome = CompileOutcome::ok;
    kernel.key = key;
    kernel.cubin =
        "\x7f"
        "ELF" +
        std::string(100, '.');
    kernel.cubin_hash = sha256_hex(kernel.cubin);
    kernel.entry = "attention_forward";
    kernel.arch = "sm_90a";
    const auto status = folder->publish(kernel);
    ASSERT_TRUE(status) << status.error().message;
  }
  void open_planted() {
    plant();
    ASSERT_EQ(open(database().c_str()), ATTUNE_OK) << attune_last_error();
  }

  attune_status forward(std::int64_t length = 2048) {
    const attune_shape shape = c_shape(length);
    const attune_tensors tensors = c_tensors(shape);
    return attune_forward(library_, &shape, &tensors, 0, stream_of(64));
  }
  attune_info info(std::int64_t length = 2048) {
    const attune_shape shape = c_shape(length);
    const attune_kernel* kernel = nullptr;
    attune_info info{};
    info.struct_size = sizeof(info);
    EXPECT_EQ(attune_prepare(library_, &shape, &kernel), ATTUNE_OK) << attune_last_error();
    EXPECT_EQ(attune_explain(kernel, &info), ATTUNE_OK);
    return info;
  }
  static void without_compiler(const std::function<void()>& body) {
    setenv("ATTUNE_NVRTC", "/nonexistent/libnvrtc.so", 1);
    body();
    unsetenv("ATTUNE_NVRTC");
  }

  FakeGpu* gpu_ = nullptr;
  attune_library* library_ = nullptr;
  std::string packs_;  // none: what comes with attune must not answer here
  int32_t queue_misses_ = 0;
  std::mutex logging_;
  std::vector<std::string> logged_;
};

}  // namespace attune
