// Every legal config once, in the space's own numbering; the seed does not matter.
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

class ExhaustiveSearch : public Strategy {
 public:
  explicit ExhaustiveSearch(StrategyArguments arguments) : proposals_(std::move(arguments)) {}

  std::string_view name() const override { return "exhaustive"; }

  std::vector<Point> propose(std::size_t n) override {
    std::vector<Point> points;
    const std::uint64_t count = proposals_.space().count();
    while (points.size() < n) {
      if (std::optional<Point> start = proposals_.next_start()) {
        points.push_back(*std::move(start));
        continue;
      }
      if (next_ == count) break;
      Point point = proposals_.space().at(next_++);
      if (proposals_.claim(point)) points.push_back(std::move(point));
    }
    return points;
  }

  void observe(const Observation& observation) override { proposals_.mark(observation.point); }

 private:
  Proposals proposals_;
  std::uint64_t next_ = 0;
};

}  // namespace

std::unique_ptr<Strategy> make_exhaustive(StrategyArguments arguments) {
  return std::make_unique<ExhaustiveSearch>(std::move(arguments));
}

}  // namespace attune
