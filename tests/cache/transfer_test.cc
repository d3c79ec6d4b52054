#include "cache/transfer.h"

#include <sstream>

#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class TransferTest : public CacheTest {
 protected:
  std::unique_ptr<TrialStore> other() const { return open_at("other.db"); }

  static std::string exported(const TrialStore& store, const TrialFilter& filter = {}) {
    std::ostringstream out;
    const auto count = export_trials(store, filter, out, "out");
    EXPECT_TRUE(count) << count.error().message;
    return out.str();
  }

  static Result<ImportSummary> imported(TrialStore& store, const std::string& text) {
    std::istringstream in(text);
    return import_trials(store, in, "in.jsonl");
  }

  // Three trials, only one of them a winner.
  static void fill(TrialStore& store) {
    Trial clocked = ok_trial(10.1, 0);
    clocked.sm_clock_mhz = 1980;
    clocked.throttle = "sw_power_cap";
    must_add(store, clocked);
    must_add(store, ok_trial(20, 1));
    must_add(store, failed_trial(Outcome::launch_fault, 2));
  }
};

TEST_F(TransferTest, EveryTrialArrivesAsItWas) {
  auto from = open();
  fill(*from);
  auto to = other();
  const auto summary = imported(*to, exported(*from));
  ASSERT_TRUE(summary) << summary.error().message;
  EXPECT_EQ(summary->read, 3);
  EXPECT_EQ(summary->added, 3);
  EXPECT_EQ(*to->trials({}), *from->trials({}));
}

TEST_F(TransferTest, ImportingTwiceIsImportingOnce) {
  auto store = open();
  fill(*store);
  const std::string text = exported(*store);
  EXPECT_EQ(imported(*store, text)->added, 0) << "not into where it came from";
  auto to = other();
  EXPECT_EQ(imported(*to, text)->added, 3);
  EXPECT_EQ(imported(*to, text)->added, 0);
  EXPECT_EQ(*to->count({}), 3);
}

TEST_F(TransferTest, OnlyWhatTheFilterMatchesIsExported) {
  auto store = open();
  fill(*store);
  auto to = other();
  EXPECT_EQ(imported(*to, exported(*store, {.outcome = Outcome::ok}))->read, 2);
}

TEST_F(TransferTest, ManyTrialsAreStreamed) {
  auto store = open();
  for (int i = 0; i < 1203; ++i) must_add(*store, ok_trial(10 + i, i));
  auto to = other();
  EXPECT_EQ(imported(*to, exported(*store))->added, 1203);
}

TEST_F(TransferTest, AnEmptyExportIsWhole) {
  EXPECT_EQ(imported(*other(), exported(*open()))->read, 0);
}

// However the file is cut, it is noticed and nothing is imported.
TEST_F(TransferTest, AFileCutShortAnywhereImportsNothing) {
  auto store = open();
  fill(*store);
  const std::string text = exported(*store);
  auto to = other();
  for (std::size_t length = 0; length < text.size() - 1; length += length + 40 < text.size() ? 37 : 1) {
    const auto summary = imported(*to, text.substr(0, length));
    ASSERT_FALSE(summary) << "cut at " << length;
    EXPECT_THAT(summary.error().message,
                AllOf(HasSubstr("in.jsonl line "), HasSubstr("nothing was imported")));
  }
  EXPECT_EQ(*to->count({}), 0);
}

struct BadFile {
  const char* what;
  const char* find;
  const char* replace;
  const char* message;
};
class BadImport : public TransferTest, public testing::WithParamInterface<BadFile> {};

TEST_P(BadImport, NamesTheLineAndImportsNothing) {
  auto store = open();
  fill(*store);
  std::string text = exported(*store);
  const auto at = text.rfind(GetParam().find);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, std::string(GetParam().find).size(), GetParam().replace);
  auto to = other();
  const auto summary = imported(*to, text);
  ASSERT_FALSE(summary);
  EXPECT_THAT(summary.error().message, HasSubstr(GetParam().message));
  EXPECT_EQ(summary.error().message.find('\n'), std::string::npos);
  EXPECT_EQ(*to->count({}), 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadImport,
    testing::Values(
        BadFile{"other_format", "attune-trials", "bookmarks", "line 1: is not an export"},
        BadFile{"newer_version", "\"version\":1", "\"version\":2", "line 1: has version 2"},
        BadFile{"not_json", "{\"compile_ms\"", "\"compile_ms\"", "line 4: is not a JSON object"},
        BadFile{"unknown_key", "\"strategy\"", "\"strategist\"", "line 4: trial has no key 'strategy'"},
        BadFile{"unknown_outcome", "launch_fault", "lunch", "line 4: trial key 'outcome': unknown"},
        BadFile{"senseless_shape", "\"kv_heads\":32", "\"kv_heads\":5", "line 4: q_heads 32 is not"},
        BadFile{"missing_trials", "\"trials\":3", "\"trials\":4", "line 5: the end does not fit"},
        BadFile{"more_after_the_end", "\"trials\":3}\n", "\"trials\":3}\n{}\n", "line 6: comes after"}),
    [](const auto& test) { return test.param.what; });

TEST_F(TransferTest, SaysWhenItCannotWrite) {
  auto store = open();
  fill(*store);
  std::ofstream full("/dev/full");
  const auto count = export_trials(*store, {}, full, "/dev/full");
  ASSERT_FALSE(count);
  EXPECT_THAT(count.error().message, HasSubstr("/dev/full"));
}

}  // namespace
}  // namespace attune
