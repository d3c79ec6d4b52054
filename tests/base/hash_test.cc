#include "base/hash.h"

#include <gtest/gtest.h>

namespace attune {
namespace {

// FIPS 180-4 example "abc".
TEST(Hash, MatchesThePublishedExample) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace attune
