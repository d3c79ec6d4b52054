// Host side of HopperDivisor: what the kernel multiplies by instead of dividing.
#pragma once

#include <bit>
#include <cstdint>

#include "templates/hopper_params.cuh"

namespace attune {

// For a divisor from 1 to 2^31 - 1. n * multiplier >> shift is n / divisor for every n below 2^31, since
// multiplier * divisor exceeds 2^shift by at most divisor <= 2^(shift - 31).
constexpr HopperDivisor hopper_divisor(std::int64_t divisor) {
  const auto d = static_cast<std::uint64_t>(divisor);
  const unsigned shift = 31 + static_cast<unsigned>(std::bit_width(d - 1));
  return {static_cast<unsigned>((std::uint64_t{1} << shift) / d + 1), shift};
}

}  // namespace attune
