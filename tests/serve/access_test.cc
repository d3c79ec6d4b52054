#include "serve/access.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace attune::serve {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Tokens, NameTheirClients) {
  const auto tokens = Tokens::parse("# team\nalice 0123456789abcdef-a\n\nbob 0123456789abcdef-b\n", "tokens");
  ASSERT_TRUE(tokens) << tokens.error().message;
  EXPECT_EQ(tokens->client_of("0123456789abcdef-a"), "alice");
  EXPECT_EQ(tokens->client_of("0123456789abcdef-b"), "bob");
  for (const char* wrong : {"", "0123456789abcdef", "0123456789abcdef-aa", "0123456789abcdef-A", "alice"})
    EXPECT_EQ(tokens->client_of(wrong), std::nullopt) << wrong;
}

TEST(Tokens, AloneBelongToAClientCalledToken) {
  EXPECT_EQ(Tokens::parse("0123456789abcdef", "t")->client_of("0123456789abcdef"), "token");
}

TEST(Tokens, AreNeverQuotedInErrors) {
  for (const char* text :
       {"short-secret", "alice short-secret", "a/b 0123456789-secret-x", "a 0123456789-secret b", ""}) {
    const auto tokens = Tokens::parse(text, "the file");
    ASSERT_FALSE(tokens) << text;
    EXPECT_THAT(tokens.error().message, HasSubstr("the file"));
    EXPECT_THAT(tokens.error().message, Not(HasSubstr("secret"))) << text;
  }
}

TEST(Tokens, AFileThatOthersMayReadIsRefused) {
  const auto file = std::filesystem::temp_directory_path() / "attune-access-test-tokens";
  std::ofstream(file) << "alice 0123456789abcdef\n";
  ASSERT_EQ(chmod(file.c_str(), 0644), 0);
  const auto open = Tokens::from_file(file);
  ASSERT_FALSE(open);
  EXPECT_THAT(open.error().message, HasSubstr("chmod 600"));
  ASSERT_EQ(chmod(file.c_str(), 0600), 0);
  EXPECT_TRUE(Tokens::from_file(file));
  std::filesystem::remove(file);
  EXPECT_FALSE(Tokens::from_file(file));
}

TEST(Access, HostsAreAddressesLocalhostAndTheNamesGiven) {
  for (const char* good : {"127.0.0.1", "127.0.0.1:8750", "localhost", "LOCALHOST:1", "[::1]:8750",
                           "10.1.2.3:80", "tuner.example", "Tuner.Example:8750"})
    EXPECT_TRUE(is_host_allowed(good, {"tuner.example"})) << good;
  for (const char* bad :
       {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "tuner.example.evil"})
    EXPECT_FALSE(is_host_allowed(bad, {"tuner.example"})) << bad;
}

TEST(Access, PagesOfOtherOriginsAreToldApart) {
  const auto asks = [](Headers headers) {
    headers.emplace_back("Host", "127.0.0.1:8750");
    return is_cross_site(headers);
  };
  EXPECT_FALSE(asks({}));
  EXPECT_FALSE(asks({{"Origin", "http://127.0.0.1:8750"}, {"Sec-Fetch-Site", "same-origin"}}));
  EXPECT_FALSE(asks({{"Sec-Fetch-Site", "none"}}));
  EXPECT_TRUE(asks({{"Origin", "http://evil.example"}}));
  EXPECT_TRUE(asks({{"Origin", "http://127.0.0.1:9999"}}));
  EXPECT_TRUE(asks({{"Origin", "null"}}));
  EXPECT_TRUE(asks({{"sec-fetch-site", "cross-site"}}));
}

TEST(Access, LoopbackAddresses) {
  for (const char* good : {"127.0.0.1", "127.8.8.8", "::1"}) EXPECT_TRUE(is_loopback_address(good)) << good;
  for (const char* bad : {"0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "localhost", ""})
    EXPECT_FALSE(is_loopback_address(bad)) << bad;
}

TEST(Access, ClientNames) {
  EXPECT_TRUE(is_client_name("ci-runner_7.a"));
  for (const std::string& bad :
       {std::string(), std::string(65, 'a'), std::string("a b"), std::string("<script>"), std::string("a\n")})
    EXPECT_FALSE(is_client_name(bad)) << bad;
}

TEST(Target, ANulIsNoPartOfAPathOrAQuery) {
  for (const std::string_view bad :
       {std::string_view("/v1/jo\0bs", 9), std::string_view("/v1/jo%00bs"),
        std::string_view("/v1/jobs?cli\0ent=a", 18), std::string_view("/?a=%00")}) {
    Request request;
    EXPECT_FALSE(read_target(bad, request)) << bad;
  }
  Request request;
  ASSERT_TRUE(read_target("/v1/jo%62s?client=a+b%26c", request));
  EXPECT_EQ(request.path, "/v1/jobs");
  EXPECT_EQ(request.query.at("client"), "a b&c");
}

}  // namespace
}  // namespace attune::serve
