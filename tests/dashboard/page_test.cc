#include "dashboard/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "dashboard/web_bundle.h"

namespace attune {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string between(const std::string& text, const std::string& open, const std::string& close) {
  const std::size_t from = text.find(open);
  if (from == std::string::npos) return "nothing";
  return text.substr(from + open.size(), text.find(close, from) - from - open.size());
}

TEST(DashboardPage, TheDataComesBackWholeAndEndsNoScript) {
  const nlohmann::json data{{"text", "</script><script>alert(1)</script><!-- \" \\ \xe2\x80\xa8 <"}};
  const std::string html = report_page(data, "title");
  const std::string inside = between(html, R"(<script type="application/json" id="data">)", "</script>");
  EXPECT_EQ(nlohmann::json::parse(inside), data);
  EXPECT_THAT(inside, Not(HasSubstr("<")));
}

TEST(DashboardPage, BytesThatAreNotUtf8DoNotStopIt) {
  EXPECT_THAT(report_page({{"text", "a\xff"}}, "title"), HasSubstr("a\xef\xbf\xbd"));
}

TEST(DashboardPage, TheTitleIsEscapedAndHoldsNoPlace) {
  const std::string html = report_page(nullptr, "</title><script>\"&{{script}}");
  EXPECT_THAT(html, HasSubstr("<title>&lt;/title&gt;&lt;script&gt;&quot;&amp;{{script}}</title>"));
}

TEST(DashboardPage, ThePolicyAllowsWhatIsInsideAndNothingElse) {
  const std::string html = report_page(nullptr, "title");
  const std::string policy = between(html, "Content-Security-Policy\" content=\"", "\">");
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(policy, HasSubstr("connect-src 'none'"));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  EXPECT_EQ(between(html, "<script type=\"module\">", "</script>"), web_script());
  EXPECT_EQ(between(html, "<style>", "</style>"), web_file("style.css"));
}

TEST(DashboardPage, AServersPageMayAskItsServerAndStandInNoFrame) {
  EXPECT_THAT(live_page().content_security_policy, HasSubstr("connect-src 'self'"));
  EXPECT_THAT(live_page().content_security_policy, HasSubstr("frame-ancestors 'none'"));
  EXPECT_THAT(live_page().html, HasSubstr("id=\"data\">null</script>"));
}

TEST(DashboardPage, ThePageNamesNoOtherPlaceAndParsesNoMarkup) {
  const std::string html = live_page().html;
  for (const char* outside : {"https://", "src=\"", "@import", "url("})
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  for (const char* parser :
       {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("})
    EXPECT_THAT(web_script(), Not(HasSubstr(parser)));
  EXPECT_THAT(web_script(), Not(HasSubstr("\nimport ")));
  EXPECT_THAT(web_script(), Not(HasSubstr("\nexport ")));
}

}  // namespace
}  // namespace attune
