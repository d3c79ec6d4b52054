#include "autotuner/strategies/descent.h"

#include <algorithm>
#include <utility>

#include "autotuner/strategies/moves.h"

namespace attune {
namespace {

// The share of a budget that the final descent gets, and at most how many trials.
constexpr double kFinalShare = 0.15;
constexpr std::size_t kMaxFinalTrials = 60;

class WithFinalDescent : public Strategy {
 public:
  WithFinalDescent(std::unique_ptr<Strategy> inner, const Space& space, std::uint64_t seed,
                   std::size_t max_trials)
      : inner_(std::move(inner)),
        proposals_({.space = space, .seed = seed, .start = {}}),
        descent_from_(final_descent_begin(max_trials)) {}

  std::string_view name() const override { return inner_->name(); }

  std::vector<Point> propose(std::size_t n) override {
    std::vector<Point> points;
    while (points.size() < n) {
      std::optional<Point> point;
      if (count_ >= descent_from_ && best_us_ < kFailed) point = step();
      if (!point) point = from_inner();
      if (!point) break;
      points.push_back(*std::move(point));
      ++count_;
    }
    return points;
  }

  bool awaiting() const override { return inner_->awaiting(); }

  void observe(const Observation& observation) override {
    inner_->observe(observation);
    proposals_.mark(observation.point);
    const double cost = cost_us(observation);
    if (descent_) descent_->observe(observation.point, cost);
    if (cost >= best_us_) return;
    best_us_ = cost;
    best_ = observation.point;
    if (descent_ && descent_->cost_us() > cost) descent_.reset();  // found outside the descent: start from it
  }

 private:
  std::optional<Point> step() {
    if (!descent_) descent_.emplace(proposals_, best_, best_us_);
    return descent_->next();
  }

  std::optional<Point> from_inner() {
    while (true) {
      std::vector<Point> points = inner_->propose(1);
      if (points.empty()) return std::nullopt;
      if (proposals_.claim(points[0])) return points[0];
    }
  }

  std::unique_ptr<Strategy> inner_;
  Proposals proposals_;
  std::size_t descent_from_;
  std::size_t count_ = 0;
  Point best_;
  double best_us_ = kFailed;
  std::optional<Descent> descent_;
};

}  // namespace

Descent::Descent(Proposals& proposals, Point centre, double cost_us) : proposals_(&proposals) {
  centre_on(centre, cost_us);
}

void Descent::centre_on(const Point& point, double cost_us) {
  centre_ = point;
  cost_us_ = cost_us;
  steps_ = steps_from(proposals_->space(), point);
  std::erase_if(steps_, [this](const Point& step) { return proposals_->proposed(step); });
  shuffle(steps_, proposals_->rng());
}

std::optional<Point> Descent::next() {
  while (!steps_.empty()) {
    Point step = std::move(steps_.back());
    steps_.pop_back();
    if (!proposals_->claim(step)) continue;
    outstanding_.insert(step);
    return step;
  }
  return std::nullopt;
}

Descent::Effect Descent::observe(const Point& point, double cost_us) {
  if (outstanding_.erase(point) == 0) return Effect::none;
  if (cost_us >= cost_us_) return Effect::stayed;
  centre_on(point, cost_us);
  return Effect::moved;
}

std::size_t final_descent_begin(std::size_t max_trials) {
  return max_trials -
         std::min(kMaxFinalTrials, static_cast<std::size_t>(static_cast<double>(max_trials) * kFinalShare));
}

std::unique_ptr<Strategy> with_final_descent(std::unique_ptr<Strategy> inner, const Space& space,
                                             std::uint64_t seed, std::size_t max_trials) {
  return std::make_unique<WithFinalDescent>(std::move(inner), space, seed, max_trials);
}

}  // namespace attune
