// What the cache's tests share: a plausible trial, a folder of their own, a store in it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "cache/trial_store.h"

namespace attune {

inline DeviceFacts h100() {
  DeviceFacts device = *nominal_facts("sm_90a");
  device.name = "NVIDIA H100 80GB HBM3";
  device.driver_version = 13000;
  device.driver = "580.159.04";
  return device;
}

inline Shape dense_shape() {
  return {.batch = 4, .q_heads = 32, .kv_heads = 32, .q_len = 4096, .kv_len = 4096, .head_dim = 128};
}

// A verified trial of config number `config`.
inline Trial ok_trial(double median_us, int config = 0) {
  Trial trial;
  trial.shape = dense_shape();
  trial.template_name = "portable";
  trial.template_hash = "aaaa";
  trial.config_json = fmt::format(R"({{"num_warps":{}}})", config);
  trial.config_hash = fmt::format("{:016x}", config);
  trial.device = h100();
  trial.nvrtc_version = "13.0";
  trial.outcome = Outcome::ok;
  trial.timing = Timing{.median_us = median_us, .min_us = median_us * 0.9, .spread_us = 1, .samples = 30};
  trial.relative_error = 2e-3;
  trial.max_abs_error = 1e-2;
  trial.cubin_key = "key";
  trial.cubin_hash = "hash";
  trial.registers = 168;
  trial.smem_bytes = 98304;
  trial.compile_ms = 340.5;
  trial.strategy = "random";
  trial.session = "s1";
  trial.created_at = "2026-11-22T01:25:48Z";
  return trial;
}

inline Trial failed_trial(Outcome outcome, int config = 0) {
  Trial trial = ok_trial(1, config);
  trial.outcome = outcome;
  trial.message = "planted";
  trial.timing.reset();
  trial.relative_error.reset();
  trial.max_abs_error.reset();
  return trial;
}

// A folder of the test's own, removed with it; root and others may enter it.
class CacheTest : public testing::Test {
 protected:
  CacheTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "attune-cache-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    std::filesystem::permissions(folder_, std::filesystem::perms::all);
  }
  ~CacheTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::filesystem::path database() const { return folder_ / "attune.db"; }

  std::unique_ptr<TrialStore> open(const SqliteOptions& options = {}) const {
    auto store = open_sqlite_store(database(), options);
    EXPECT_TRUE(store) << store.error().message;
    return store ? *std::move(store) : nullptr;
  }

  // The error of opening, which must be one line; "" when it opened.
  std::string open_error(const SqliteOptions& options = {}) const {
    auto store = open_sqlite_store(database(), options);
    if (store) return "";
    EXPECT_EQ(store.error().message.find('\n'), std::string::npos) << store.error().message;
    return store.error().message;
  }

  std::filesystem::path folder_;
};

inline std::string read_file(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void write_file(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

// Runs SQL behind the store's back.
inline void run_sql(const std::filesystem::path& file, const std::string& sql) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(file.c_str(), &database), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(database, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
      << sqlite3_errmsg(database);
  sqlite3_close(database);
}

inline void must_add(TrialStore& store, Trial trial) {
  const auto status = store.add(trial);
  ASSERT_TRUE(status) << status.error().message;
}

}  // namespace attune
