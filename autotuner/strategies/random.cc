// Uniform over the legal configs, without replacement: the baseline.
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

class RandomSearch : public Strategy {
 public:
  explicit RandomSearch(StrategyArguments arguments) : proposals_(std::move(arguments)) {}

  std::string_view name() const override { return "random"; }

  std::vector<Point> propose(std::size_t n) override {
    std::vector<Point> points;
    while (points.size() < n) {
      std::optional<Point> point = proposals_.next_start();
      if (!point) point = proposals_.next_random();
      if (!point) break;
      points.push_back(*std::move(point));
    }
    return points;
  }

  void observe(const Observation& observation) override { proposals_.mark(observation.point); }

 private:
  Proposals proposals_;
};

}  // namespace

std::unique_ptr<Strategy> make_random(StrategyArguments arguments) {
  return std::make_unique<RandomSearch>(std::move(arguments));
}

}  // namespace attune
