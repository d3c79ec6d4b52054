// Bayesian optimization: a Gaussian process learns the logarithm of the time, and the config with the largest
// expected improvement is tried next (Jones, Schonlau and Welch, "Efficient global optimization", J. Global
// Optimization 13, 1998). A failed trial counts as the slowest that ran. Proposals whose time is not known
// yet are believed to come out as predicted, so that they are not proposed again in another coat. Every third
// proposal keeps near the best config: with many outstanding, improvement expected anywhere is mostly
// exploration (trust regions: Eriksson et al., "Scalable global optimization via local Bayesian
// optimization", NeurIPS 2019).
#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <numbers>
#include <numeric>

#include "autotuner/strategies/gaussian_process.h"
#include "autotuner/strategies/moves.h"
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

constexpr std::size_t kBayesianFirstSamples = 12;  // random points before any model: about one an axis
constexpr std::size_t kDraws = 16;                 // of which the farthest from all others is a first sample
constexpr std::size_t kMostSpread = 64;            // trials up to which random points are spread so
constexpr std::size_t kFewestKnown = 4;            // trials that a model needs
constexpr std::size_t kNearTheBest = 3;            // each so many-th proposal is near the best
constexpr std::size_t kNear = 2;                   // axes in which it differs, at most
constexpr std::size_t kWholeSpace = 2048;          // up to so many configs all are candidates
constexpr std::size_t kCandidates = 768;           // else so many, drawn anew with each model
constexpr std::size_t kBayesianCentres = 4;        // of these a half is around the best few
constexpr std::size_t kMostTraining = 256;    // trials in a model: the best half of that, others at random
constexpr std::size_t kMostLearning = 64;     // of those, trials that the kernel's weights are learnt from
constexpr double kBayesianRefitGrowth = 0.1;  // a new model when there are so many more trials
constexpr std::size_t kFewestBetween = 2;     // trials between two models
constexpr int kFirstLearning = 4;             // rounds of learning for the first model, one for later ones

class BayesianOptimization : public Strategy {
 public:
  explicit BayesianOptimization(StrategyArguments arguments)
      : proposals_(std::move(arguments)), kernel_(proposals_.space()) {}

  std::string_view name() const override { return "bayesian"; }

  std::vector<Point> propose(std::size_t n) override {
    return up_to(n, [this] { return next(); });
  }

  void observe(const Observation& observation) override {
    const double cost = cost_us(observation);
    if (!proposals_.proposed(observation.point)) ++samples_;  // told: as good as a sample of one's own
    proposals_.mark(observation.point);
    points_.push_back(observation.point);
    costs_.push_back(cost);
    if (cost < best_us_) {
      best_us_ = cost;
      best_ = observation.point;
    }
    const auto pending = std::find_if(pending_.begin(), pending_.end(),
                                      [&](const Pending& p) { return p.point == observation.point; });
    if (process_) {
      const bool known = pending != pending_.end();
      const std::size_t row = known ? pending->row : process_->add_training(observation.point);
      process_->set_value(row, standardized(cost));
    }
    if (pending != pending_.end()) pending_.erase(pending);
  }

 private:
  struct Pending {
    Point point;
    std::size_t row = 0;  // in the model
  };

  std::optional<Point> next() {
    std::optional<Point> point = proposals_.next_start();
    if (!point && samples_ < kBayesianFirstSamples) {
      ++samples_;
      point = next_sample();
    }
    if (!point && points_.size() >= kFewestKnown && best_us_ < kFailed) point = most_promising();
    if (!point) point = next_sample();
    if (point) pending_.push_back({*point, process_ ? process_->add_training(*point) : 0});
    return point;
  }

  // Random, but far from what was proposed: of a few, the one whose nearest neighbour is the farthest (a
  // maximin design; Johnson, Moore and Ylvisaker, "Minimax and maximin distance designs", J. Stat. Plan.
  // Inference 26, 1990).
  std::optional<Point> next_sample() {
    const Space& space = proposals_.space();
    if (space.count() == 0 || points_.size() + pending_.size() > kMostSpread) return proposals_.next_random();
    std::optional<Point> farthest;
    std::size_t most = 0;
    for (std::size_t i = 0; i < kDraws; ++i) {
      Point point = space.sample(proposals_.rng());
      if (proposals_.proposed(point)) continue;
      const std::size_t nearest = distance_to_nearest(point);
      if (farthest && nearest <= most) continue;
      most = nearest;
      farthest = std::move(point);
    }
    return farthest && proposals_.claim(*farthest) ? farthest : proposals_.next_random();
  }

  std::size_t distance_to_nearest(const Point& point) const {
    std::size_t least = point.size();
    for (const Point& other : points_) least = std::min(least, differing(point, other));
    for (const Pending& other : pending_) least = std::min(least, differing(point, other.point));
    return least;
  }

  std::optional<Point> most_promising() {
    const std::size_t between = std::max(
        kFewestBetween, static_cast<std::size_t>(kBayesianRefitGrowth * static_cast<double>(modelled_)));
    if (!process_ || points_.size() >= modelled_ + between) fit();
    std::optional<std::size_t> first;
    if (++turns_ % kNearTheBest == 0) first = largest_gain(kNear);
    if (!first) first = largest_gain(best_.size());
    if (!first) return std::nullopt;
    taken_[*first] = true;
    Point point = process_->candidate(*first);
    return proposals_.claim(point) ? std::optional(std::move(point)) : std::nullopt;
  }

  // Of the candidates that differ from the best in so many axes at most.
  std::optional<std::size_t> largest_gain(std::size_t axes) {
    const double best = standardized(best_us_);
    const double signal = process_->signal_variance();
    std::optional<std::size_t> first;
    double most = -1;
    for (std::size_t i = 0; i < process_->size(); ++i) {
      if (taken_[i] || differing(process_->candidate(i), best_) > axes) continue;
      const double gain =
          expected_improvement(best - process_->mean(i), std::sqrt(signal * process_->variance(i)));
      if (gain <= most) continue;
      if (proposals_.proposed(process_->candidate(i))) {
        taken_[i] = true;
        continue;
      }
      most = gain;
      first = i;
    }
    return first;
  }

  static std::size_t differing(const Point& a, const Point& b) {
    std::size_t axes = 0;
    for (std::size_t i = 0; i < a.size(); ++i) axes += a[i] != b[i];
    return axes;
  }

  // Of a normal variable, `ahead` on average, over zero.
  static double expected_improvement(double ahead, double deviation) {
    if (deviation <= 0) return std::max(ahead, 0.0);
    const double z = ahead / deviation;
    const double below = 0.5 * std::erfc(-z / std::numbers::sqrt2);
    const double density = std::exp(-0.5 * z * z) / std::sqrt(2 * std::numbers::pi);
    return ahead * below + deviation * density;
  }

  double standardized(double cost) const {
    const double value = cost < kFailed ? std::min(std::log(cost), slowest_) : slowest_;
    return (value - centre_) / spread_;
  }

  void standardize() {
    slowest_ = -HUGE_VAL;
    for (const double cost : costs_) {
      if (cost < kFailed) slowest_ = std::max(slowest_, std::log(cost));
    }
    centre_ = 0;
    spread_ = 1;
    const auto n = static_cast<double>(costs_.size());
    double sum = 0;
    double squares = 0;
    for (const double cost : costs_) sum += standardized(cost);
    const double centre = sum / n;
    for (const double cost : costs_) squares += std::pow(standardized(cost) - centre, 2);
    constexpr double kEqual = 1e-6;  // all times the same
    centre_ = centre;
    spread_ = std::sqrt(squares / n) + kEqual;
  }

  // Up to `most` of the trials given: the fastest half of that, and others at random.
  std::vector<std::size_t> fastest_and_others(std::vector<std::size_t> from, std::size_t most) {
    if (from.size() <= most) return from;
    const std::size_t half = most / 2;
    std::nth_element(
        from.begin(), from.begin() + static_cast<std::ptrdiff_t>(half), from.end(),
        [this](std::size_t a, std::size_t b) { return std::pair(costs_[a], a) < std::pair(costs_[b], b); });
    for (std::size_t i = half; i < most; ++i) {
      std::swap(from[i], from[i + uniform_below(proposals_.rng(), from.size() - i)]);
    }
    from.resize(most);
    return from;
  }

  void fit() {
    modelled_ = points_.size();
    if (!process_) standardize();
    std::vector<std::size_t> training(points_.size());
    std::iota(training.begin(), training.end(), std::size_t{0});
    training = fastest_and_others(std::move(training), kMostTraining);
    std::vector<Point> points;
    std::vector<double> values;
    for (const std::size_t i : fastest_and_others(training, kMostLearning)) {
      points.push_back(points_[i]);
      values.push_back(standardized(costs_[i]));
    }
    bool learnt = false;
    for (int round = process_ ? 1 : kFirstLearning; round > 0; --round)
      learnt |= kernel_.learn(points, values);
    const bool whole_space = proposals_.space().count() <= kWholeSpace;
    if (process_ && !learnt && whole_space && points_.size() <= kMostTraining) return;  // it is up to date

    standardize();
    process_ = std::make_unique<GaussianProcess>(kernel_);
    for (const std::size_t i : training) {
      process_->set_value(process_->add_training(points_[i]), standardized(costs_[i]));
    }
    for (Pending& pending : pending_) pending.row = process_->add_training(pending.point);
    for (Point& point : candidates()) {
      if (!proposals_.proposed(point)) process_->add_candidate(std::move(point));
    }
    taken_.assign(process_->size(), false);
  }

  std::vector<Point> candidates() {
    const Space& space = proposals_.space();
    std::vector<Point> points;
    if (space.count() <= kWholeSpace) {
      space.for_each([&](const Point& point) {
        points.push_back(point);
        return true;
      });
      return points;
    }
    std::vector<std::size_t> order(points_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const std::size_t centres = std::min(kBayesianCentres, order.size());
    std::partial_sort(
        order.begin(), order.begin() + static_cast<std::ptrdiff_t>(centres), order.end(),
        [this](std::size_t a, std::size_t b) { return std::pair(costs_[a], a) < std::pair(costs_[b], b); });
    for (std::size_t i = 0; i < centres; ++i) {
      const Point& centre = points_[order[i]];
      for (Point& step : steps_from(space, centre)) points.push_back(std::move(step));
      for (std::size_t k = 0; k < kCandidates / 4 / kBayesianCentres; ++k) {
        const std::size_t axes = 2 + uniform_below(proposals_.rng(), 3);
        if (auto mutant = mutated(space, centre, axes, proposals_.rng()))
          points.push_back(*std::move(mutant));
      }
    }
    while (points.size() < kCandidates) points.push_back(space.sample(proposals_.rng()));
    std::sort(points.begin(), points.end());
    points.erase(std::unique(points.begin(), points.end()), points.end());
    return points;
  }

  Proposals proposals_;
  PointKernel kernel_;
  std::unique_ptr<GaussianProcess> process_;  // null before the first model
  std::vector<bool> taken_;                   // candidates that were proposed
  std::vector<Point> points_;                 // observed, with their times
  std::vector<double> costs_;
  std::deque<Pending> pending_;
  Point best_;
  double best_us_ = kFailed;
  double slowest_ = 0;  // logarithms
  double centre_ = 0;
  double spread_ = 1;
  std::size_t samples_ = 0;
  std::size_t turns_ = 0;     // of most_promising()
  std::size_t modelled_ = 0;  // trials when the model was made
};

}  // namespace

std::unique_ptr<Strategy> make_bayesian(StrategyArguments arguments) {
  return std::make_unique<BayesianOptimization>(std::move(arguments));
}

}  // namespace attune
