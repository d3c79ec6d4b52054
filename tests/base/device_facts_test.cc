#include "base/device_facts.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace attune {
namespace {

using testing::HasSubstr;

TEST(DeviceFacts, AreReadAsTheyAreWritten) {
  const DeviceFacts facts = *nominal_facts("sm_90a");
  const auto read = device_facts_from_json(to_json(facts));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(to_json(*read), to_json(facts));
}

TEST(DeviceFacts, NumbersThatAreNoneOrDoNotFitAreRefused) {
  for (const char* key :
       {"sm_count", "compute_major", "smem_per_sm_bytes", "memory_bytes", "driver_version"}) {
    for (const auto& value : {nlohmann::json(1.5e42), nlohmann::json("8"), nlohmann::json(true)}) {
      nlohmann::json json = to_json(*nominal_facts("sm_90a"));
      json[key] = value;
      const auto read = device_facts_from_json(json);
      ASSERT_FALSE(read) << key << value;
      EXPECT_THAT(read.error().message, HasSubstr(fmt::format("'{}' is no whole number", key)));
    }
  }
  nlohmann::json json = to_json(*nominal_facts("sm_90a"));
  json["sm_count"] = std::int64_t{1} << 33;
  EXPECT_FALSE(device_facts_from_json(json));
}

}  // namespace
}  // namespace attune
