// Several proposers on one budget, each credited by what it brings: the best time's relative improvement, a
// second that its trials cost. The next proposal is drawn with a chance in proportion to that credit, with a
// floor that lets each come back (probability matching; Thierens, "An adaptive pursuit strategy for
// allocating operator probabilities", GECCO 2005). All are told all trials.
#include <array>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

constexpr double kFloor = 0.1;    // least chance of a proposer
constexpr double kMemory = 0.98;  // of gains and seconds, a trial

class Portfolio : public Strategy {
 public:
  explicit Portfolio(StrategyArguments arguments) : proposals_(arguments) {
    // The first one takes the start points and the first samples; the others learn from those.
    proposers_[0].strategy = make_bayesian(arguments);
    arguments.start.clear();
    proposers_[1].strategy = make_surrogate(arguments);
    proposers_[2].strategy = make_anneal(arguments);
    proposers_[3].strategy = make_pattern(std::move(arguments));
  }

  std::string_view name() const override { return "portfolio"; }

  std::vector<Point> propose(std::size_t n) override {
    return up_to(n, [this] { return next(); });
  }

  void observe(const Observation& observation) override {
    proposals_.mark(observation.point);
    ++observed_;
    const double cost = cost_us(observation);
    for (Proposer& proposer : proposers_) {
      proposer.gain *= kMemory;
      proposer.seconds *= kMemory;
      proposer.strategy->observe(observation);
    }
    if (const auto it = proposed_by_.find(observation.point); it != proposed_by_.end()) {
      Proposer& proposer = proposers_[it->second];
      proposer.seconds += observation.seconds;
      if (cost < best_us_ && best_us_ < kFailed) proposer.gain += std::log(best_us_ / cost);
      proposed_by_.erase(it);
    }
    best_us_ = std::min(best_us_, cost);
  }

 private:
  struct Proposer {
    std::unique_ptr<Strategy> strategy;
    double gain = 0;
    double seconds = 0;
  };
  static constexpr std::size_t kFirstTrials = 12;  // before anything can be credited

  std::optional<Point> next() {
    if (observed_ < kFirstTrials) return from(0);
    const std::size_t drawn = draw();
    for (std::size_t i = 0; i < proposers_.size(); ++i) {
      if (auto point = from((drawn + i) % proposers_.size())) return point;
    }
    return std::nullopt;
  }

  // A point that nobody proposed; none: that proposer waits for trials to end.
  std::optional<Point> from(std::size_t proposer) {
    while (true) {
      std::vector<Point> points = proposers_[proposer].strategy->propose(1);
      if (points.empty()) return std::nullopt;
      if (!proposals_.claim(points[0])) continue;
      proposed_by_.emplace(points[0], proposer);
      return std::move(points[0]);
    }
  }

  std::size_t draw() {
    std::array<double, 4> rates{};
    for (std::size_t i = 0; i < rates.size(); ++i) {
      if (proposers_[i].seconds > 0) rates[i] = proposers_[i].gain / proposers_[i].seconds;
    }
    const double sum = std::accumulate(rates.begin(), rates.end(), 0.0);
    double left = static_cast<double>(proposals_.rng()() >> 11) * 0x1p-53;
    for (std::size_t i = 0; i + 1 < rates.size(); ++i) {
      const double share = sum > 0 ? rates[i] / sum : 1.0 / static_cast<double>(rates.size());
      left -= kFloor + (1 - kFloor * static_cast<double>(rates.size())) * share;
      if (left < 0) return i;
    }
    return rates.size() - 1;
  }

  Proposals proposals_;
  std::array<Proposer, 4> proposers_;
  std::unordered_map<Point, std::size_t, PointHash> proposed_by_;  // outstanding
  double best_us_ = kFailed;
  std::size_t observed_ = 0;
};

}  // namespace

std::unique_ptr<Strategy> make_portfolio(StrategyArguments arguments) {
  return std::make_unique<Portfolio>(std::move(arguments));
}

}  // namespace attune
