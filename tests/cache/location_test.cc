#include "cache/location.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace attune {
namespace {

TEST(Location, TellsAServerFromAFile) {
  EXPECT_TRUE(is_server("postgresql://ada@db/attune"));
  EXPECT_TRUE(is_server("postgres://db"));
  for (const char* file : {"attune.db", "/data/postgresql://x", "postgresql:", "./postgres://x", ""})
    EXPECT_FALSE(is_server(file)) << file;
}

struct Shown {
  const char* location;
  const char* shown;
};
class ShownLocation : public testing::TestWithParam<Shown> {};

TEST_P(ShownLocation, HasNoPassword) {
  EXPECT_EQ(shown(GetParam().location), GetParam().shown);
}

INSTANTIATE_TEST_SUITE_P(
    All, ShownLocation,
    testing::Values(Shown{"/home/ada:x@y/attune.db", "/home/ada:x@y/attune.db"},
                    Shown{"postgresql://db/attune", "postgresql://db/attune"},
                    Shown{"postgresql://ada@db:5433/attune", "postgresql://ada@db:5433/attune"},
                    Shown{"postgresql://ada:secret@db/attune", "postgresql://ada:***@db/attune"},
                    Shown{"postgres://ada:se/cr@et@db/attune", "postgres://ada:***@db/attune"},
                    Shown{"postgresql://ada:se?cr&t@db/attune", "postgresql://ada:***@db/attune"},
                    Shown{"postgresql://db:5432/attune?user=a@b", "postgresql://db:***@b"},
                    Shown{"postgresql://:secret@/attune", "postgresql://:***@/attune"},
                    Shown{"postgresql:///attune?host=/run/pg&password=secret&user=ada",
                          "postgresql:///attune?host=/run/pg&password=***&user=ada"},
                    Shown{"postgresql://ada:a@h1:1,h2:2/attune?sslpassword=x&sslmode=require",
                          "postgresql://ada:***@h1:1,h2:2/attune?sslpassword=***&sslmode=require"},
                    Shown{"postgresql://ada:secret",
                          "postgresql://ada:secret"},  // a host and a port, however odd
                    Shown{"postgresql://", "postgresql://"}));

}  // namespace
}  // namespace attune
