#include "cache/paths.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>
#include <string>

#include "cache/trial_store.h"

namespace attune {
namespace {

// Sets the variables for a test and puts back what was there.
class PathsTest : public testing::Test {
 protected:
  PathsTest() {
    for (const char* name : {"ATTUNE_DB", "ATTUNE_CACHE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HOME"}) {
      const char* value = std::getenv(name);
      before_[name] = value ? std::optional<std::string>(value) : std::nullopt;
      unsetenv(name);
    }
  }
  ~PathsTest() override {
    for (const auto& [name, value] : before_) {
      if (value) {
        setenv(name.c_str(), value->c_str(), 1);
      } else {
        unsetenv(name.c_str());
      }
    }
  }

 private:
  std::map<std::string, std::optional<std::string>> before_;
};

TEST_F(PathsTest, TheMostSpecificVariableWins) {
  EXPECT_TRUE(std::filesystem::path(default_database()).is_absolute()) << "without any variable";
  setenv("HOME", "/home/ada", 1);
  EXPECT_EQ(default_database(), "/home/ada/.cache/attune/attune.db");
  setenv("XDG_CACHE_HOME", "/var/xdg", 1);
  EXPECT_EQ(default_database(), "/var/xdg/attune/attune.db");
  setenv("ATTUNE_CACHE_DIR", "/fast", 1);
  EXPECT_EQ(default_database(), "/fast/attune.db");
  setenv("ATTUNE_DB", "/data/team.db", 1);
  EXPECT_EQ(default_database(), "/data/team.db");
  EXPECT_EQ(cache_folder(), "/fast");
}

TEST_F(PathsTest, EmptyAndRelativeVariablesDoNotCount) {
  setenv("HOME", "/home/ada", 1);
  setenv("XDG_CACHE_HOME", "relative", 1);
  setenv("ATTUNE_CACHE_DIR", "", 1);
  setenv("ATTUNE_DB", "", 1);
  EXPECT_EQ(default_database(), "/home/ada/.cache/attune/attune.db");
}

TEST_F(PathsTest, SettingsLieApartFromWhatMayBeDeleted) {
  setenv("HOME", "/home/ada", 1);
  setenv("ATTUNE_CACHE_DIR", "/fast", 1);
  EXPECT_EQ(config_folder(), "/home/ada/.config/attune");
  setenv("XDG_CONFIG_HOME", "relative", 1);
  EXPECT_EQ(config_folder(), "/home/ada/.config/attune");
  setenv("XDG_CONFIG_HOME", "/etc/xdg", 1);
  EXPECT_EQ(config_folder(), "/etc/xdg/attune");
}

}  // namespace
}  // namespace attune
