#include "cli/endpoint_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace attune::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(EndpointProbe, NobodyThereIsAnErrorWithoutTheKey) {
  const auto answer = probe_endpoint("http://user:secret@127.0.0.1:1/v1", "secret-key");
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message, HasSubstr("http://127.0.0.1:1/v1/models does not answer"));
  EXPECT_THAT(answer.error().message, Not(HasSubstr("secret")));
}

TEST(EndpointProbe, OtherProtocolsAreRefused) {
  EXPECT_FALSE(probe_endpoint("file:///etc/hostname", ""));
}

}  // namespace
}  // namespace attune::cli
