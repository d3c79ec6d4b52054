// Surrogate search by classification: a forest learns how likely a config is among the best tenth seen so
// far, and ranks candidates by it (Song et al., "A general recipe for likelihood-free Bayesian optimization",
// ICML 2022; Helion's default search is of this kind). A positive counts more the faster it is; a failed
// trial is a negative, so the forest also learns where kernels fail.
#include <algorithm>
#include <map>

#include "autotuner/strategies/forest.h"
#include "autotuner/strategies/moves.h"
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

constexpr std::size_t kSurrogateFirstSamples = 16;  // random points beside the start points, before any model
constexpr double kGood = 0.1;                       // the share of trials that are positives
constexpr std::size_t kFewestGood = 4;
constexpr std::size_t kTrees = 64;
constexpr std::size_t kSurrogateCentres = 6;    // best points whose surroundings are candidates
constexpr std::size_t kMutants = 20;            // candidates a few axes away, a centre
constexpr std::size_t kRandomCandidates = 400;  // candidates anywhere in the space
constexpr std::size_t kExploreEvery = 10;       // of so many proposals one is random
constexpr double kSurrogateRefitGrowth = 0.05;  // a new model when there are so many more trials

class SurrogateSearch : public Strategy {
 public:
  explicit SurrogateSearch(StrategyArguments arguments) : proposals_(std::move(arguments)) {}

  std::string_view name() const override { return "surrogate"; }

  std::vector<Point> propose(std::size_t n) override {
    return up_to(n, [this] { return next(); });
  }

  void observe(const Observation& observation) override {
    if (!proposals_.proposed(observation.point)) ++samples_;  // told: as good as a sample of one's own
    proposals_.mark(observation.point);
    const double cost = cost_us(observation);
    points_.push_back(observation.point);
    costs_.push_back(cost);
    if (cost < kFailed) best_.emplace(cost, observation.point);
    if (best_.size() > kSurrogateCentres) best_.erase(std::prev(best_.end()));
    const double needed = static_cast<double>(fitted_at_) * (1 + kSurrogateRefitGrowth);
    if (static_cast<double>(points_.size()) > needed) stale_ = true;
  }

 private:
  std::optional<Point> next() {
    if (std::optional<Point> start = proposals_.next_start()) return start;
    if (samples_ < kSurrogateFirstSamples || best_.empty() || ++count_ % kExploreEvery == 0) {
      ++samples_;
      return proposals_.next_random();
    }
    if (stale_ || near_.empty()) rank();
    // The nearest and likeliest alone would mostly be copies of the best that differ in what does not matter.
    std::vector<Point>& first = count_ % 2 == 0 ? near_ : anywhere_;
    std::vector<Point>& second = count_ % 2 == 0 ? anywhere_ : near_;
    for (std::vector<Point>* ranked : {&first, &second}) {
      while (!ranked->empty()) {
        Point point = std::move(ranked->back());
        ranked->pop_back();
        if (proposals_.claim(point)) return point;
      }
    }
    return proposals_.next_random();
  }

  void rank() {
    if (stale_) fit();
    near_ = ranked(points_near_best());
    std::vector<Point> samples;
    for (std::size_t i = 0; i < kRandomCandidates; ++i) {
      samples.push_back(proposals_.space().sample(proposals_.rng()));
    }
    anywhere_ = ranked(std::move(samples));
  }

  // Without those proposed before; most promising last, equal ones in random order.
  std::vector<Point> ranked(std::vector<Point> pool) {
    std::sort(pool.begin(), pool.end());
    pool.erase(std::unique(pool.begin(), pool.end()), pool.end());
    std::erase_if(pool, [this](const Point& point) { return proposals_.proposed(point); });
    shuffle(pool, proposals_.rng());
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t i = 0; i < pool.size(); ++i) order.emplace_back(forest_.predict(pool[i]), i);
    std::sort(order.begin(), order.end());
    std::vector<Point> result;
    for (const auto& [score, i] : order) result.push_back(std::move(pool[i]));
    return result;
  }

  void fit() {
    std::vector<double> sorted = costs_;
    const std::size_t good =
        std::max(kFewestGood, static_cast<std::size_t>(kGood * static_cast<double>(sorted.size())));
    const std::size_t last = std::min(good, sorted.size()) - 1;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(last), sorted.end());
    const double limit = sorted[last];
    const double best = best_.begin()->first;
    std::vector<double> targets;
    for (const double cost : costs_) {
      // 1 at the limit, 2 at the best.
      const double positive = limit > best && limit < kFailed ? 1 + (limit - cost) / (limit - best) : 1;
      targets.push_back(cost < kFailed && cost <= limit ? positive : 0);
    }
    forest_.fit(points_, targets, kTrees, proposals_.rng());
    fitted_at_ = points_.size();
    stale_ = false;
  }

  std::vector<Point> points_near_best() {
    const Space& space = proposals_.space();
    std::vector<Point> points;
    for (const auto& [cost, centre] : best_) {
      for (Point& step : steps_from(space, centre)) points.push_back(std::move(step));
      for (std::size_t i = 0; i < kMutants; ++i) {
        const std::size_t axes = 2 + uniform_below(proposals_.rng(), 3);
        if (auto mutant = mutated(space, centre, axes, proposals_.rng()))
          points.push_back(*std::move(mutant));
      }
    }
    return points;
  }

  Proposals proposals_;
  std::vector<Point> points_;
  std::vector<double> costs_;
  std::multimap<double, Point> best_;  // the kSurrogateCentres fastest
  Forest forest_;
  // Candidates by the present model, most promising last.
  std::vector<Point> near_;
  std::vector<Point> anywhere_;
  bool stale_ = true;
  std::size_t fitted_at_ = 0;
  std::size_t samples_ = 0;
  std::size_t count_ = 0;
};

}  // namespace

std::unique_ptr<Strategy> make_surrogate(StrategyArguments arguments) {
  return std::make_unique<SurrogateSearch>(std::move(arguments));
}

}  // namespace attune
