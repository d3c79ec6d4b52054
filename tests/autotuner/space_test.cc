#include "autotuner/space.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "tests/autotuner/random_spaces.h"

namespace attune {
namespace {

using testing::HasSubstr;
using testing_spaces::random_definition;

AxisValue integer(std::int64_t value) {
  return value;
}

// Every legal config from check_config alone: the whole product with inactive axes left out.
void brute_force(const SpaceDefinition& definition, std::size_t axis, const Config& config,
                 std::set<std::string>& legal, std::uint64_t& combinations) {
  if (axis == definition.axes.size()) {
    ++combinations;
    if (check_config(config, definition)) legal.insert(canonical_json(config, definition));
    return;
  }
  const Axis& here = definition.axes[axis];
  if (here.active && !here.active(config)) {
    brute_force(definition, axis + 1, config, legal, combinations);
    return;
  }
  for (const AxisValue& value : here.values) {
    Config next = config;
    next.set(here.name, value);
    brute_force(definition, axis + 1, next, legal, combinations);
  }
}

std::vector<Point> all_points(const Space& space) {
  std::vector<Point> points;
  space.for_each([&](const Point& point) {
    points.push_back(point);
    return true;
  });
  return points;
}

class RandomSpaces : public testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, RandomSpaces, testing::Range<std::uint64_t>(0, 60));

TEST_P(RandomSpaces, CountsAndPointsAreThoseOfBruteForce) {
  const SpaceDefinition definition = random_definition(GetParam());
  const Space space(definition);
  std::set<std::string> legal;
  std::uint64_t combinations = 0;
  brute_force(definition, 0, {}, legal, combinations);

  EXPECT_EQ(space.count(), legal.size());
  RecordProperty("legal", std::to_string(legal.size()));
  const std::vector<Point> points = all_points(space);
  EXPECT_TRUE(std::is_sorted(points.begin(), points.end()));
  std::set<std::string> walked;
  for (const Point& point : points) walked.insert(space.canonical(point));
  EXPECT_EQ(walked, legal);
  EXPECT_EQ(walked.size(), points.size()) << "two points alias to one config";

  std::set<Point> numbered;
  for (std::uint64_t i = 0; i < space.count(); ++i) numbered.insert(space.at(i));
  EXPECT_EQ(numbered, std::set<Point>(points.begin(), points.end()));

  const Space::Report report = space.report();
  EXPECT_EQ(report.combinations, combinations);
  EXPECT_EQ(report.legal, legal.size());
  std::uint64_t sum = report.legal;
  for (const auto& [rule, count] : report.rejected) sum += count;
  EXPECT_EQ(sum, combinations);
  for (const auto& [rule, reason] : report.examples) EXPECT_THAT(reason, HasSubstr("is a multiple"));
}

TEST_P(RandomSpaces, PointsConfigsAndNeighboursAgree) {
  const Space space(random_definition(GetParam()));
  const std::vector<Point> points = all_points(space);
  const std::set<Point> set(points.begin(), points.end());
  for (const Point& point : points) {
    EXPECT_TRUE(space.contains(point));
    EXPECT_TRUE(space.check(point));
    const Result<Point> back = space.point(space.config(point));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, point);
    const std::vector<Point> neighbours = space.neighbours(point);
    EXPECT_EQ(std::set<Point>(neighbours.begin(), neighbours.end()).size(), neighbours.size());
    for (const Point& other : neighbours) {
      EXPECT_TRUE(set.contains(other));
      EXPECT_NE(other, point);
    }
  }
}

TEST_P(RandomSpaces, NeighboursAreSymmetricAndDifferInOneAxisWhereNoneIsConditional) {
  SpaceDefinition definition = random_definition(GetParam(), 5);
  for (Axis& axis : definition.axes) axis.active = {};
  const Space space(definition);
  for (const Reach reach : {Reach::all, Reach::adjacent}) {
    for (const Point& point : all_points(space)) {
      for (const Point& other : space.neighbours(point, reach)) {
        int differences = 0;
        for (std::size_t i = 0; i < point.size(); ++i) {
          differences += point[i] != other[i] ? 1 : 0;
          EXPECT_TRUE(reach == Reach::all || std::abs(point[i] - other[i]) <= 1);
        }
        EXPECT_EQ(differences, 1);
        const std::vector<Point> back = space.neighbours(other, reach);
        EXPECT_NE(std::find(back.begin(), back.end(), point), back.end());
      }
    }
  }
}

SpaceDefinition persistent() {
  SpaceDefinition definition;
  definition.axes = {{"pid", "/pid", {AxisValue("flat"), AxisValue("persistent")}, ""},
                     {"sms",
                      "/sms",
                      {integer(1), integer(2), integer(4)},
                      "",
                      {"pid"},
                      [](const Config& config) { return config.text("pid") != "flat"; }},
                     {"warps", "/warps", {integer(4), integer(8)}, ""}};
  return definition;
}

TEST(Space, NeighboursTakeEachValueOfAnAxisThatBecomesActive) {
  const Space space(persistent());
  EXPECT_EQ(space.count(), 8U);
  EXPECT_EQ(space.neighbours({0, kInactive, 0}),
            (std::vector<Point>{{1, 0, 0}, {1, 1, 0}, {1, 2, 0}, {0, kInactive, 1}}));
  EXPECT_EQ(space.neighbours({1, 1, 0}).front(), (Point{0, kInactive, 0}));
  EXPECT_EQ(space.normalized({1, kInactive, 0}), (Point{1, 0, 0}));
  EXPECT_EQ(space.normalized({0, 2, 0}), (Point{0, kInactive, 0}));
  EXPECT_FALSE(space.contains({1, kInactive, 0}));
  EXPECT_FALSE(space.contains({0, 0, 0}));
  EXPECT_FALSE(space.contains({1, 3, 0}));
  EXPECT_FALSE(space.contains({1, 0}));
  EXPECT_FALSE(space.check({1, 3, 0}));
}

TEST(Space, RestrictedNarrowsDomainsAndRejectsWhatDoesNotExist) {
  const Space space(persistent());
  const Result<Space> narrow = space.restricted({{"sms", {"4", "2"}}, {"warps", {"8"}}});
  ASSERT_TRUE(narrow);
  EXPECT_EQ(narrow->count(), 3U);
  EXPECT_EQ(space.restricted({{"colour", {"red"}}}).error().message,
            "this space has no axis 'colour'; it has: pid, sms, warps");
  EXPECT_EQ(space.restricted({{"warps", {"5"}}}).error().message,
            "axis 'warps' has no value '5'; it has: 4, 8");
  EXPECT_THAT(space.restricted({{"warps", {}}}).error().message, HasSubstr("left without a value"));
}

TEST(Space, LimitedToHasOnlyTheGivenConfigs) {
  const Space space(persistent());
  const Space by_hash = space.limited_to(std::set<std::string>{
      config_hash(space.canonical({1, 1, 0})), config_hash(space.canonical({1, 2, 0})), "0123456789abcdef"});
  const Space limited = space.limited_to(std::vector<Point>{{1, 2, 0}, {1, 1, 0}, {1, 1, 0}, {1, 7, 0}});
  EXPECT_EQ(all_points(by_hash), all_points(limited));
  EXPECT_EQ(limited.count(), 2U);
  EXPECT_EQ(limited.neighbours({1, 1, 0}), (std::vector<Point>{{1, 2, 0}}));
  EXPECT_FALSE(limited.contains({0, kInactive, 0}));
  EXPECT_THAT(limited.point(space.config({0, kInactive, 0})).error().message,
              HasSubstr("not in the recording"));
  Rng rng(1);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(limited.contains(limited.sample(rng)));
  const Result<Space> narrow = limited.restricted({{"sms", {"4"}}});
  ASSERT_TRUE(narrow);
  EXPECT_EQ(narrow->count(), 1U);
  EXPECT_EQ(narrow->canonical(narrow->at(0)), space.canonical({1, 2, 0}));
  EXPECT_EQ(limited.report().rejected.back(), (std::pair<std::string, std::uint64_t>{"not recorded", 6}));
  EXPECT_EQ(space.limited_to(std::vector<Point>{}).count(), 0U);
}

// Pearson's chi-square against uniform; 99.9% quantile by Wilson and Hilferty's approximation.
TEST(Space, SamplesAreUniformOverTheLegalPoints) {
  for (const std::uint64_t seed : {1U, 5U, 8U, 21U}) {
    const Space space(random_definition(seed, 7));
    const auto cells = static_cast<double>(space.count());
    ASSERT_GT(cells, 10);
    const int draws = static_cast<int>(cells) * 40;
    std::map<Point, int> hits;
    Rng rng(7);
    for (int i = 0; i < draws; ++i) ++hits[space.sample(rng)];
    double chi_square = (cells - static_cast<double>(hits.size())) * 40;
    for (const auto& [point, n] : hits) chi_square += (n - 40.0) * (n - 40.0) / 40.0;
    const double freedom = cells - 1;
    const double limit = freedom * std::pow(1 - 2 / (9 * freedom) + 3.09 * std::sqrt(2 / (9 * freedom)), 3);
    EXPECT_LT(chi_square, limit) << "seed " << seed << ", " << cells << " cells";
  }
}

// Fourteen axes as an attention template has them, with rules that entangle half of them.
SpaceDefinition large() {
  SpaceDefinition definition;
  const auto axis = [&](const std::string& name, std::int64_t values) {
    Axis made{name, "/" + name, {}, ""};
    for (std::int64_t v = 1; v <= values; ++v) made.values.emplace_back(v);
    definition.axes.push_back(std::move(made));
  };
  for (const auto& [name, values] : std::vector<std::pair<std::string, std::int64_t>>{{"m", 8},
                                                                                      {"n", 8},
                                                                                      {"heads", 4},
                                                                                      {"warps", 4},
                                                                                      {"stages", 5},
                                                                                      {"q_regs", 2},
                                                                                      {"maxnreg", 5},
                                                                                      {"evict_q", 3},
                                                                                      {"evict_k", 3},
                                                                                      {"evict_v", 3},
                                                                                      {"order", 2},
                                                                                      {"group", 6},
                                                                                      {"unroll", 4},
                                                                                      {"pid", 4}}) {
    axis(name, values);
  }
  definition.rules = {{"shared memory",
                       {"m", "n", "stages", "q_regs"},
                       [](const Config& c) -> std::optional<std::string> {
                         const std::int64_t tiles =
                             c.integer("n") * c.integer("stages") * 2 + c.integer("m") * c.integer("q_regs");
                         if (tiles <= 28) return std::nullopt;
                         return "needs " + std::to_string(tiles) + " tiles";
                       }},
                      {"registers",
                       {"m", "n", "warps", "maxnreg", "heads"},
                       [](const Config& c) -> std::optional<std::string> {
                         const std::int64_t need = c.integer("m") * c.integer("n") * c.integer("heads");
                         if (need <= c.integer("warps") * c.integer("maxnreg") * 8) return std::nullopt;
                         return "needs " + std::to_string(need) + " registers";
                       }},
                      {"groups", {"group", "order"}, [](const Config& c) -> std::optional<std::string> {
                         if (c.integer("group") == 1 || c.integer("order") == 1) return std::nullopt;
                         return "grouping needs the first order";
                       }}};
  return definition;
}

TEST(Space, AThousandMillionCombinationsAreCountedFactoredAndSampledQuickly) {
  const auto begin = std::chrono::steady_clock::now();
  const Space space(large());
  const Space::Report report = space.report();
  EXPECT_EQ(report.combinations, 8ULL * 8 * 4 * 4 * 5 * 2 * 5 * 27 * 2 * 6 * 4 * 4);
  Rng rng(0);
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(space.contains(space.sample(rng)));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(took.count(), 1.0);
  RecordProperty("seconds", std::to_string(took.count()));

  SpaceDefinition entangled = large();
  std::erase_if(entangled.axes, [](const Axis& axis) {
    return axis.name.starts_with("evict") || axis.name == "unroll" || axis.name == "pid";
  });
  std::uint64_t walked = 0;
  Space(entangled).for_each([&](const Point&) { return ++walked, true; });
  EXPECT_EQ(report.legal, walked * 27 * 4 * 4);
}

TEST(Space, OneInTenThousandLegalIsSampledExactly) {
  SpaceDefinition definition;
  for (int i = 0; i < 8; ++i) {
    Axis axis{"a" + std::to_string(i), "/a" + std::to_string(i), {}, ""};
    for (std::int64_t v = 0; v < 10; ++v) axis.values.emplace_back(v);
    definition.axes.push_back(std::move(axis));
  }
  for (int i = 0; i < 4; ++i) {  // a0 = a1, a2 = a3, ...: one in 10^4 of 10^8
    const std::string a = "a" + std::to_string(2 * i);
    const std::string b = "a" + std::to_string(2 * i + 1);
    definition.rules.push_back({a, {a, b}, [a, b](const Config& config) -> std::optional<std::string> {
                                  if (config.integer(a) == config.integer(b)) return std::nullopt;
                                  return "they differ";
                                }});
  }
  const Space space(definition);
  EXPECT_EQ(space.count(), 10000U);
  Rng rng(4);
  std::set<Point> drawn;
  for (int i = 0; i < 5000; ++i) drawn.insert(space.sample(rng));
  EXPECT_NEAR(static_cast<double>(drawn.size()), 3935, 100);  // 10000 * (1 - exp(-0.5))
  EXPECT_EQ(all_points(space).size(), 10000U);
}

TEST(Space, ADefinitionThatIsWrongThrows) {
  const auto rejects = [](const std::function<void(SpaceDefinition&)>& spoil) {
    SpaceDefinition definition = persistent();
    spoil(definition);
    EXPECT_THROW(Space{definition}, std::logic_error);
  };
  rejects([](SpaceDefinition& d) { d.axes[2].name = "pid"; });
  rejects([](SpaceDefinition& d) { d.axes[2].pointer = "/pid"; });
  rejects([](SpaceDefinition& d) { d.axes[2].pointer = "/pid/1"; });
  rejects([](SpaceDefinition& d) { d.axes[2].values.push_back(integer(4)); });
  rejects([](SpaceDefinition& d) { d.axes[2].values.clear(); });
  rejects([](SpaceDefinition& d) { d.axes[1].depends_on = {"warps"}; });
  rejects([](SpaceDefinition& d) { d.axes[1].pointer = "/list/0"; });
  rejects([](SpaceDefinition& d) { d.rules = {{"r", {"colour"}, {}}}; });
}

TEST(Space, WithoutAxesHasOneConfig) {
  EXPECT_EQ(Space(SpaceDefinition{}).count(), 1U);
  SpaceDefinition none;
  none.rules = {{"never", {}, [](const Config&) { return std::optional<std::string>("never"); }}};
  EXPECT_EQ(Space(none).count(), 0U);
}

}  // namespace
}  // namespace attune
