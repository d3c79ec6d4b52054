#include "autotuner/strategies/proposals.h"

#include <utility>

namespace attune {

double cost_us(const Observation& observation) {
  const bool timed = observation.outcome == Outcome::ok || observation.outcome == Outcome::slow;
  return timed && observation.median_us ? *observation.median_us : kFailed;
}

std::optional<std::uint64_t> RandomOrder::next(Rng& rng) {
  if (left_ == 0) return std::nullopt;
  const auto entry = [this](std::uint64_t index) {
    const auto it = moved_.find(index);
    return it == moved_.end() ? index : it->second;
  };
  const std::uint64_t drawn = uniform_below(rng, left_--);
  const std::uint64_t result = entry(drawn);
  moved_.insert_or_assign(drawn, entry(left_));
  moved_.erase(left_);
  return result;
}

Proposals::Proposals(StrategyArguments arguments)
    : space_(arguments.space),
      rng_(arguments.seed),
      start_(arguments.start.begin(), arguments.start.end()),
      order_(space_.count()) {}

bool Proposals::claim(const Point& point) {
  return space_.contains(point) && proposed_.insert(point).second;
}

std::optional<Point> Proposals::next_start() {
  while (!start_.empty()) {
    Point point = std::move(start_.front());
    start_.pop_front();
    if (claim(point)) return point;
  }
  return std::nullopt;
}

std::optional<Point> Proposals::next_random() {
  while (const auto index = order_.next(rng_)) {
    Point point = space_.at(*index);
    if (claim(point)) return point;
  }
  return std::nullopt;
}

}  // namespace attune
