#include "templates/config.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "templates/axis.h"

namespace attune {
namespace {

using testing::HasSubstr;
using Json = nlohmann::json;

AxisValue integer(std::int64_t value) {
  return value;
}
AxisValue text(std::string value) {
  return value;
}

SpaceDefinition small_space() {
  SpaceDefinition space;
  space.axes = {
      {"block_m", "/block_sizes/1", {integer(64), integer(128)}, "rows of Q a CTA"},
      {"block_n", "/block_sizes/2", {integer(32), integer(64), integer(128)}, "rows of K a step"},
      {"heads", "/block_sizes/0", {integer(1)}, "heads a CTA"},
      {"loop_order", "/loop_orders/0", {text("[0,1]"), text("[1,0]")}, "order of the grid's axes"},
      {"pid_type", "/pid_type", {text("flat"), text("persistent_blocked")}, "who walks the tiles"},
      {"num_sm_multiplier",
       "/num_sm_multiplier",
       {integer(1), integer(2)},
       "CTAs an SM",
       {"pid_type"},
       [](const Config& config) { return config.text("pid_type") != "flat"; }},
      {"q_in_registers", "/q_in_registers", {AxisValue(false), AxisValue(true)}, "where Q lives"},
  };
  space.rules = {{"tile", {"block_m", "block_n"}, [](const Config& config) -> std::optional<std::string> {
                    if (config.integer("block_m") * config.integer("block_n") <= 8192) return std::nullopt;
                    return "the tile has more than 8192 scores";
                  }}};
  return space;
}

Json flat_json() {
  return Json::parse(R"({"block_sizes": [1, 64, 32], "loop_orders": [[1, 0]], "pid_type": "flat",
                         "q_in_registers": true})");
}

std::string error_of(const Json& json) {
  const Result<Config> config = config_from_json(json, small_space());
  return config ? "" : config.error().message;
}

TEST(Config, ValuesAreReadByType) {
  Config config;
  config.set("warps", integer(4));
  config.set("pid", text("flat"));
  config.set("flag", true);
  EXPECT_EQ(config.integer("warps"), 4);
  EXPECT_EQ(config.text("pid"), "flat");
  EXPECT_TRUE(config.flag("flag"));
  EXPECT_THROW(config.integer("pid"), std::logic_error);
  EXPECT_THROW(config.text("absent"), std::logic_error);
  config.erase("warps");
  EXPECT_FALSE(config.has("warps"));
}

TEST(ConfigJson, RoundTripsThroughHelionsForm) {
  const SpaceDefinition space = small_space();
  const Result<Config> config = config_from_json(flat_json(), space);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->integer("block_m"), 64);
  EXPECT_EQ(config->text("loop_order"), "[1,0]");
  EXPECT_FALSE(config->has("num_sm_multiplier"));
  EXPECT_EQ(canonical_json(*config, space),
            R"({"block_sizes":[1,64,32],"loop_orders":[[1,0]],"pid_type":"flat","q_in_registers":true})");
  EXPECT_EQ(config_to_json(*config, space), flat_json());
  EXPECT_TRUE(check_config(*config, space));
}

TEST(ConfigJson, AListWithAGapIsFilledWithNullsAndReadBack) {
  SpaceDefinition space;
  space.axes = {{"block_n", "/block_sizes/2", {integer(32)}, ""}, {"x", "/a~1b/~0c", {integer(1)}, ""}};
  Config config;
  config.set("block_n", integer(32));
  config.set("x", integer(1));
  EXPECT_EQ(canonical_json(config, space), R"({"a/b":{"~c":1},"block_sizes":[null,null,32]})");
  const Result<Config> read = config_from_json(config_to_json(config, space), space);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, config);
}

TEST(ConfigJson, AnAxisYoungerThanTheConfigIsReadAsWhatItMeantAndNotWritten) {
  SpaceDefinition younger = small_space();
  Axis store{"store", "/store", {text("direct"), text("tma")}, "how O is stored"};
  store.unwritten = text("direct");
  younger.axes.push_back(store);
  const Result<Config> read = config_from_json(flat_json(), younger);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->text("store"), "direct");
  EXPECT_EQ(canonical_json(*read, younger), flat_json().dump());
  Json with = flat_json();
  with["store"] = "tma";
  EXPECT_EQ(canonical_json(*config_from_json(with, younger), younger), with.dump());
}

TEST(ConfigHash, IsTheStartOfTheSha256) {
  EXPECT_EQ(config_hash("abc"), "ba7816bf8f01cfea");
}

TEST(ConfigJson, ErrorsNameTheKeyTheReasonAndWhatIsAccepted) {
  Json json = flat_json();
  json["pid_type"] = 3;
  EXPECT_EQ(error_of(json),
            R"(config key 'pid_type' must be a string, got 3; accepted: "flat", "persistent_blocked")");
  json = flat_json();
  json["block_sizes"][1] = 96;
  EXPECT_EQ(error_of(json), "config key 'block_sizes/1' (block_m) cannot be 96; accepted: 64, 128");
  json["block_sizes"][1] = 64.0;
  EXPECT_THAT(error_of(json), HasSubstr("must be an integer, got 64.0"));
  json["block_sizes"][1] = nullptr;
  EXPECT_THAT(error_of(json), HasSubstr("must be an integer, got null"));
  json["block_sizes"][1] = 18446744073709551615U;
  EXPECT_THAT(error_of(json), HasSubstr("cannot be 18446744073709551615"));
  json = flat_json();
  json["q_in_registers"] = 1;
  EXPECT_THAT(error_of(json), HasSubstr("must be a boolean, got 1; accepted: false, true"));
  json = flat_json();
  json["loop_orders"][0] = "[1,0]";
  EXPECT_THAT(error_of(json), HasSubstr("must be a list"));
}

TEST(ConfigJson, UnknownMissingAndInactiveKeysAreErrors) {
  Json json = flat_json();
  json["num_warp"] = 4;
  EXPECT_EQ(error_of(json),
            "the config has the unknown key \"num_warp\"; accepted: block_sizes, loop_orders, "
            "num_sm_multiplier, pid_type, q_in_registers");
  json = flat_json();
  json["block_sizes"].push_back(7);
  EXPECT_THAT(error_of(json), HasSubstr("'block_sizes' has the unknown element 3 (7)"));
  json = flat_json();
  json["block_sizes"] = 64;
  EXPECT_EQ(error_of(json), "config key 'block_sizes' must be a list, got 64");
  json = flat_json();
  json.erase("pid_type");
  EXPECT_THAT(error_of(json), HasSubstr("'pid_type' is missing"));
  json = flat_json();
  json["num_sm_multiplier"] = 2;
  EXPECT_EQ(error_of(json),
            "config key 'num_sm_multiplier' does nothing with pid_type = \"flat\"; leave it out");
  json = flat_json();
  json["pid_type"] = "persistent_blocked";
  EXPECT_THAT(error_of(json), HasSubstr("'num_sm_multiplier' is missing; accepted: 1, 2"));
  EXPECT_THAT(error_of(Json::array({1})), HasSubstr("the config must be a JSON object"));
  EXPECT_THAT(error_of(Json("\xff")), HasSubstr("must be a JSON object"));
}

TEST(ConfigJson, ABrokenRuleIsNamedWithItsReason) {
  Json json = flat_json();
  json["block_sizes"] = {1, 128, 128};
  EXPECT_EQ(error_of(json), "config is illegal (tile): the tile has more than 8192 scores");
}

TEST(CheckConfig, FindsTheSameFaultsInAConfigMadeByHand) {
  const SpaceDefinition space = small_space();
  const Config good = *config_from_json(flat_json(), space);
  Config config = good;
  config.set("block_m", integer(96));
  EXPECT_THAT(check_config(config, space).error().message, HasSubstr("cannot be 96"));
  config = good;
  config.set("colour", integer(1));
  EXPECT_THAT(check_config(config, space).error().message, HasSubstr("unknown axis 'colour'"));
  config = good;
  config.erase("block_n");
  EXPECT_THAT(check_config(config, space).error().message, HasSubstr("is missing"));
  config = good;
  config.set("num_sm_multiplier", integer(1));
  EXPECT_THAT(check_config(config, space).error().message, HasSubstr("does nothing"));
}

}  // namespace
}  // namespace attune
