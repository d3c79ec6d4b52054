// What the cache's tests share: a plausible trial, a folder of their own, a store in it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>

#include "cache/postgres.h"
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

// The server of `tests/postgres/server.py` as the tests' backend: a schema of its own for every name. Null
// where ATTUNE_TEST_POSTGRES is not set: then stores are SQLite files.
class TestServer {
 public:
  static std::unique_ptr<TestServer> find() {
    const char* folder = std::getenv("ATTUNE_TEST_POSTGRES");
    if (folder == nullptr) return nullptr;
    std::ifstream in(std::filesystem::path(folder) / "uri");
    auto server = std::make_unique<TestServer>();
    std::getline(in, server->uri_);  // "" where there is no server: the test is skipped
    return server;
  }
  ~TestServer() {
    for (const auto& [name, schema] : schemas_) run("DROP SCHEMA IF EXISTS " + schema + " CASCADE");
  }

  bool is_there() const { return !uri_.empty(); }
  const std::string& uri() const { return uri_; }

  std::string location(const std::string& name) {
    auto& schema = schemas_[name];
    if (schema.empty()) {
      static int made = 0;
      schema = fmt::format("t{}_{}", ::getpid(), ++made);
      run("CREATE SCHEMA " + schema);
    }
    return uri_ + "&options=-csearch_path%3D" + schema;
  }

  void run(const std::string& sql) const { run_at(uri_, sql); }
  static void run_at(const std::string& location, const std::string& sql) {
    const auto connection = PostgresConnection::open(location, {});
    ASSERT_TRUE(connection) << connection.error().message;
    const auto status = (*connection)->run_all(sql);
    EXPECT_TRUE(status) << sql << ": " << status.error().message;
  }

 private:
  std::string uri_;
  std::map<std::string, std::string> schemas_;  // by name
};

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

  void SetUp() override {
    if (server_ && !server_->is_there())
      GTEST_SKIP() << "no PostgreSQL server; tests/postgres/server.py says why";
  }

  // Of tests that look at the file itself.
  std::filesystem::path database() const { return folder_ / "attune.db"; }

  // Where the store of that name is, in whichever backend is tested.
  std::string location(const std::string& name = "attune.db") const {
    return server_ ? server_->is_there() ? server_->location(name) : "" : (folder_ / name).string();
  }

  std::unique_ptr<TrialStore> open_at(const std::string& name, const StoreOptions& options = {}) const {
    if (location(name).empty()) return nullptr;  // the test is skipped
    auto store = open_store(location(name), options);
    EXPECT_TRUE(store) << store.error().message;
    return store ? *std::move(store) : nullptr;
  }
  std::unique_ptr<TrialStore> open(const StoreOptions& options = {}) const {
    return open_at("attune.db", options);
  }

  // The error of opening, which must be one line; "" when it opened.
  std::string open_error(const StoreOptions& options = {}) const {
    auto store = open_store(location(), options);
    if (store) return "";
    EXPECT_EQ(store.error().message.find('\n'), std::string::npos) << store.error().message;
    return store.error().message;
  }

  std::filesystem::path folder_;
  const std::unique_ptr<TestServer> server_ = TestServer::find();
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
