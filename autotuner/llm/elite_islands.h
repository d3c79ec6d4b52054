// MAP-Elites on islands (Mouret and Clune, "Illuminating search spaces by mapping elites", 2015): each island
// keeps the fastest config of every cell of a map whose axes are what decides how an attention kernel runs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "autotuner/space.h"
#include "autotuner/strategy.h"
#include "base/device_facts.h"

namespace attune {

// CTAs that fit on an SM by registers, shared memory and threads; 0 where the facts are not known.
int resident_ctas(const TrialFacts& facts, const DeviceFacts& device);

// Where a trial lies on the map: CTAs an SM, registers a thread and shared memory a CTA in bins, and the
// depth of the pipeline (the value index of the space's first axis of stages).
struct MapCell {
  std::array<int, 4> bins{};
  auto operator<=>(const MapCell&) const = default;
};
MapCell cell_of(const Observation& observation, const Space& space, const DeviceFacts& device);

// "2 CTAs an SM, up to 168 registers, up to 64 KiB, num_stages 2"
std::string to_string(const MapCell& cell, const Space& space);

struct Elite {
  std::int64_t number = 0;  // of the trial
  Point point;
  double cost_us = 0;
  MapCell cell;
};

class EliteIslands {
 public:
  explicit EliteIslands(std::size_t islands) : islands_(islands) {}

  std::size_t size() const { return islands_.size(); }

  // Takes its cell where that is empty or held by a slower one.
  void add(std::size_t island, const Elite& elite);

  // The fastest few of each island go to the next one, in a ring.
  void migrate();

  std::vector<Elite> elites(std::size_t island) const;  // fastest first

 private:
  std::vector<std::map<MapCell, Elite>> islands_;
};

}  // namespace attune
