// Differential evolution (Storn and Price, J. Global Optimization 11, 1997), variant current-to-best/1/bin,
// on value indices. Members evolve one at a time as their trials end, so there is no generation to wait for.
#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "autotuner/strategies/moves.h"
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

constexpr std::size_t kPopulation = 20;
constexpr double kCrossover = 0.5;  // chance that an axis comes from the donor
constexpr double kScale = 0.7;      // weight of the difference of two members, and of the way to the best
constexpr int kDonors = 20;         // tries for a legal, new point before a random change is made

class DifferentialEvolution : public Strategy {
 public:
  explicit DifferentialEvolution(StrategyArguments arguments) : proposals_(std::move(arguments)) {}

  std::string_view name() const override { return "evolution"; }

  std::vector<Point> propose(std::size_t n) override {
    return up_to(n, [this] { return next(); });
  }

  void observe(const Observation& observation) override {
    const double cost = cost_us(observation);
    if (!proposals_.proposed(observation.point)) ++sampled_;  // told: as good as a sample of one's own
    proposals_.mark(observation.point);
    const auto parent = parents_.find(observation.point);
    if (parent != parents_.end()) {
      Member& member = members_[parent->second];
      parents_.erase(parent);
      if (cost <= member.cost_us) member = {observation.point, cost};
    } else if (members_.size() < kPopulation) {
      members_.push_back({observation.point, cost});
    } else {  // not one of ours: in place of the worst, if it is better
      const auto worst = std::max_element(members_.begin(), members_.end(), by_cost);
      if (cost < worst->cost_us) *worst = {observation.point, cost};
    }
  }

 private:
  struct Member {
    Point point;
    double cost_us;
  };
  static bool by_cost(const Member& a, const Member& b) { return a.cost_us < b.cost_us; }

  std::optional<Point> next() {
    if (std::optional<Point> start = proposals_.next_start()) return start;
    if (sampled_ < kPopulation || members_.size() < kPopulation) {
      ++sampled_;
      return proposals_.next_random();
    }
    const std::size_t target = turn_++ % members_.size();
    for (int i = 0; i < kDonors; ++i) {
      Point point = offspring(target);
      if (proposals_.claim(point)) {
        parents_.emplace(point, target);
        return point;
      }
    }
    const auto mutant = mutated(proposals_.space(), members_[target].point, 2, proposals_.rng());
    if (mutant && proposals_.claim(*mutant)) {
      parents_.emplace(*mutant, target);
      return mutant;
    }
    return proposals_.next_random();
  }

  Point offspring(std::size_t target) {
    Rng& rng = proposals_.rng();
    const Point& base = members_[target].point;
    const Point& best = std::min_element(members_.begin(), members_.end(), by_cost)->point;
    const Point& a = members_[uniform_below(rng, members_.size())].point;
    const Point& b = members_[uniform_below(rng, members_.size())].point;
    Point point = base;
    const std::size_t forced = uniform_below(rng, point.size());
    for (std::size_t axis = 0; axis < point.size(); ++axis) {
      if (axis != forced && unit() >= kCrossover) continue;
      const auto top = static_cast<double>(proposals_.space().axes()[axis].values.size() - 1);
      const double way = kScale * (best[axis] - base[axis]) + kScale * (a[axis] - b[axis]);
      const double value = base[axis] + std::floor(way + unit());  // rounds at random, without bias
      point[axis] = static_cast<std::int16_t>(std::clamp(value, 0.0, top));
    }
    return proposals_.space().normalized(std::move(point));
  }

  double unit() { return static_cast<double>(proposals_.rng()() >> 11) * 0x1p-53; }

  Proposals proposals_;
  std::vector<Member> members_;
  std::unordered_map<Point, std::size_t, PointHash>
      parents_;  // outstanding offspring -> member they may replace
  std::size_t sampled_ = 0;
  std::size_t turn_ = 0;
};

}  // namespace

std::unique_ptr<Strategy> make_evolution(StrategyArguments arguments) {
  return std::make_unique<DifferentialEvolution>(std::move(arguments));
}

}  // namespace attune
