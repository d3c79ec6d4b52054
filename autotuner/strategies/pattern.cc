// Pattern search (Hooke and Jeeves, "Direct search", J. ACM 8(2), 1961) from several starts, as autotuners
// use it on discrete spaces: sample, descend from the best few at once, restart when a descent is at its end.
#include <algorithm>
#include <map>

#include "autotuner/strategies/descent.h"

namespace attune {
namespace {

constexpr std::size_t kPatternFirstSamples = 20;  // random points beside the start points, before any descent
constexpr std::size_t kDescents = 3;              // at once
constexpr std::size_t kRestartSamples = 6;        // random points before each later descent

class PatternSearch : public Strategy {
 public:
  explicit PatternSearch(StrategyArguments arguments) : proposals_(std::move(arguments)) {}

  std::string_view name() const override { return "pattern"; }

  std::vector<Point> propose(std::size_t n) override {
    return up_to(n, [this] { return next(); });
  }

  void observe(const Observation& observation) override {
    const double cost = cost_us(observation);
    // Told: as good as a sample of one's own.
    if (!proposals_.proposed(observation.point) && samples_left_ > 0) --samples_left_;
    proposals_.mark(observation.point);
    Descent::Effect effect = Descent::Effect::none;
    for (Descent& descent : descents_) effect = std::max(effect, descent.observe(observation.point, cost));
    if (cost == kFailed || effect == Descent::Effect::moved) return;
    (effect == Descent::Effect::none ? samples_ : steps_).emplace(cost, observation.point);
  }

 private:
  std::optional<Point> next() {
    if (std::optional<Point> start = proposals_.next_start()) return start;
    if (samples_left_ > 0) {
      --samples_left_;
      if (std::optional<Point> point = proposals_.next_random()) return point;
    }
    arrange_descents();
    // Turns go round, so that one long descent does not starve the others.
    for (std::size_t i = 0; i < descents_.size(); ++i) {
      Descent& descent = descents_[turn_++ % descents_.size()];
      if (std::optional<Point> point = descent.next()) return point;
    }
    return proposals_.next_random();
  }

  void arrange_descents() {
    std::erase_if(descents_, [](const Descent& descent) { return descent.finished(); });
    while (descents_.size() < kDescents && !(samples_.empty() && steps_.empty())) {
      const bool from_sample = steps_.empty() || (!samples_.empty() && *samples_.begin() < *steps_.begin());
      begin_descent(from_sample ? samples_ : steps_);
    }
    // A sample that came in later and is faster than where a descent has got to takes its place.
    while (!samples_.empty()) {
      const auto slowest = std::max_element(descents_.begin(), descents_.end(), by_cost);
      if (samples_.begin()->first >= slowest->cost_us()) break;
      steps_.emplace(slowest->cost_us(), slowest->centre());
      descents_.erase(slowest);
      begin_descent(samples_);
    }
  }

  // From the fastest. Every second time after the first ones, new samples are taken as well: the fastest
  // points by then may all lie in one valley.
  void begin_descent(std::multimap<double, Point>& from) {
    const auto fastest = from.begin();
    descents_.emplace_back(proposals_, fastest->second, fastest->first);
    from.erase(fastest);
    if (++begun_ > kDescents && begun_ % 2 == 0) samples_left_ += kRestartSamples;
  }

  static bool by_cost(const Descent& a, const Descent& b) { return a.cost_us() < b.cost_us(); }

  Proposals proposals_;
  std::size_t samples_left_ = kPatternFirstSamples;
  std::vector<Descent> descents_;
  // Observed points at which no descent is, by time: samples, and steps of earlier or present descents.
  std::multimap<double, Point> samples_;
  std::multimap<double, Point> steps_;
  std::size_t begun_ = 0;
  std::size_t turn_ = 0;
};

}  // namespace

std::unique_ptr<Strategy> make_pattern(StrategyArguments arguments) {
  return std::make_unique<PatternSearch>(std::move(arguments));
}

}  // namespace attune
