#include "cli/endpoint_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace attune::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(EndpointProbe, CredentialsAreTakenOutOfAUrl) {
  EXPECT_EQ(without_credentials("https://user:secret@host:8000/v1"), "https://host:8000/v1");
  EXPECT_EQ(without_credentials("https://host/v1?key=secret"), "https://host/v1");
  EXPECT_EQ(without_credentials("http://host/a@b"), "http://host/a@b");
}

TEST(EndpointProbe, NobodyThereIsAnErrorWithoutTheKey) {
  const auto answer = probe_endpoint("http://user:secret@127.0.0.1:1/v1", "secret-key");
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message, HasSubstr("http://127.0.0.1:1/v1 does not answer"));
  EXPECT_THAT(answer.error().message, Not(HasSubstr("secret")));
}

TEST(EndpointProbe, OtherProtocolsAreRefused) {
  EXPECT_FALSE(probe_endpoint("file:///etc/hostname", ""));
}

}  // namespace
}  // namespace attune::cli
