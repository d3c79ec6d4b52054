// Uniform over the legal configs, without replacement: the baseline.
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

class RandomSearch : public Strategy {
 public:
  explicit RandomSearch(StrategyArguments arguments) : proposals_(std::move(arguments)) {}

  std::string_view name() const override { return "random"; }

  std::vector<Point> propose(std::size_t n) override {
    return up_to(n, [this] {
      std::optional<Point> start = proposals_.next_start();
      return start ? start : proposals_.next_random();
    });
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
