// Ways from one legal point to another.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "autotuner/space.h"

namespace attune {

// One step from a point: single-axis neighbours (integers to the next value, others to any), and both of a
// pair of block-size axes moved by one, since tiles trade one side against the other.
std::vector<Point> steps_from(const Space& space, const Point& point);

// The point with up to `axes` of its axes at other values, drawn uniformly; none when a number of draws gave
// no member of the space.
std::optional<Point> mutated(const Space& space, const Point& point, std::size_t axes, Rng& rng);

}  // namespace attune
