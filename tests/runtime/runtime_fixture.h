// What the runtime's tests share: a folder, a database and planted trials.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "cache/trial_store.h"
#include "templates/attention_template.h"

namespace attune {

inline DeviceFacts h100() {
  DeviceFacts device = *nominal_facts("sm_90a");
  device.name = "NVIDIA H100 80GB HBM3";
  device.driver_version = 13000;
  return device;
}

inline Shape model_shape(std::int64_t length = 2048) {
  return *validated({.q_heads = 32,
                     .kv_heads = 8,
                     .q_len = length,
                     .kv_len = length,
                     .head_dim = 128,
                     .mask = Mask::causal_bottom_right});
}

class RuntimeTest : public testing::Test {
 protected:
  RuntimeTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "attune-runtime-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    setenv("XDG_CONFIG_HOME", folder_.c_str(),
           1);  // whom this machine's user trusts is not the tests' affair
  }
  ~RuntimeTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::string database() const { return (folder_ / "attune.db").string(); }
  std::string cubins() const { return (folder_ / "cubins").string(); }

  std::unique_ptr<TrialStore> open_store() const {
    auto store = open_sqlite_store(database());
    EXPECT_TRUE(store) << store.error().message;
    return *std::move(store);
  }

  // A verified trial of a template's config for a shape.
  static Trial trial_of(const AttentionTemplate& tmpl, const Config& config, const Shape& shape,
                        double median_us, const DeviceFacts& device = h100()) {
    Trial trial;
    trial.shape = shape;
    trial.template_name = tmpl.name();
    trial.template_hash = tmpl.hash();
    trial.config_json = canonical_json(config, tmpl.space(shape, device));
    trial.config_hash = config_hash(trial.config_json);
    trial.device = device;
    trial.nvrtc_version = "13.0";
    trial.outcome = Outcome::ok;
    trial.timing = Timing{.median_us = median_us, .min_us = median_us, .spread_us = 1, .samples = 30};
    trial.relative_error = 2e-3;
    trial.max_abs_error = 1e-2;
    trial.cubin_key = "planted";
    trial.cubin_hash = "hash";
    trial.strategy = "test";
    trial.session = "s1";
    return trial;
  }

  static void must_add(TrialStore& store, Trial trial) {
    const auto status = store.add(trial);
    ASSERT_TRUE(status) << status.error().message;
  }

  std::filesystem::path folder_;
};

}  // namespace attune
