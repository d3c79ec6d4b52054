// Simulated annealing (Kirkpatrick, Gelatt and Vecchi, Science 220, 1983) inside iterated local search:
// random steps from the current point, slower ones accepted with a chance that falls as it cools; when it is
// stuck it goes on from a changed copy of the best, warm again.
#include <cmath>

#include "autotuner/strategies/moves.h"
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

constexpr std::size_t kAnnealFirstSamples = 16;
constexpr double kWarm = 0.05;         // a step this much slower (relative) is accepted with chance 1/e
constexpr double kCooling = 0.95;      // a trial
constexpr std::size_t kPatience = 25;  // trials without a move before it counts as stuck
constexpr std::size_t kKick = 3;       // axes changed then

class Annealing : public Strategy {
 public:
  explicit Annealing(StrategyArguments arguments) : proposals_(std::move(arguments)) {}

  std::string_view name() const override { return "anneal"; }

  std::vector<Point> propose(std::size_t n) override {
    return up_to(n, [this] { return next(); });
  }

  void observe(const Observation& observation) override {
    const double cost = cost_us(observation);
    if (!proposals_.proposed(observation.point)) ++samples_;  // told: as good as a sample of one's own
    proposals_.mark(observation.point);
    ++since_move_;
    if (cost < best_us_) {
      best_us_ = cost;
      best_ = observation.point;
    }
    if (accepts(cost)) move_to(observation.point, cost);
    if (current_us_ < kFailed) temperature_ *= kCooling;
  }

 private:
  bool accepts(double cost) {
    if (cost < current_us_) return true;
    if (cost == kFailed || samples_ < kAnnealFirstSamples) return false;
    const double chance = std::exp(-(cost / current_us_ - 1) / temperature_);
    return static_cast<double>(proposals_.rng()() >> 11) * 0x1p-53 < chance;
  }

  void move_to(const Point& point, double cost) {
    current_us_ = cost;
    since_move_ = 0;
    steps_ = steps_from(proposals_.space(), point);
    shuffle(steps_, proposals_.rng());
  }

  std::optional<Point> next() {
    if (std::optional<Point> start = proposals_.next_start()) return start;
    if (samples_ < kAnnealFirstSamples || best_us_ == kFailed) {
      ++samples_;
      return proposals_.next_random();
    }
    if (since_move_ > kPatience) steps_.clear();
    while (!steps_.empty()) {
      Point step = std::move(steps_.back());
      steps_.pop_back();
      if (proposals_.claim(step)) return step;
    }
    return kicked();
  }

  std::optional<Point> kicked() {
    const auto point = mutated(proposals_.space(), best_, kKick, proposals_.rng());
    temperature_ = kWarm;
    since_move_ = 0;
    if (!point || !proposals_.claim(*point)) return proposals_.next_random();
    steps_ = steps_from(proposals_.space(), *point);
    shuffle(steps_, proposals_.rng());
    return point;
  }

  Proposals proposals_;
  Point best_;
  double best_us_ = kFailed;
  double current_us_ = kFailed;
  std::vector<Point> steps_;  // from the current point, or from a kicked one
  double temperature_ = kWarm;
  std::size_t since_move_ = 0;
  std::size_t samples_ = 0;
};

}  // namespace

std::unique_ptr<Strategy> make_anneal(StrategyArguments arguments) {
  return std::make_unique<Annealing>(std::move(arguments));
}

}  // namespace attune
