#include "autotuner/llm/elite_islands.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

namespace attune {
namespace {

constexpr std::size_t kMigrants = 2;

constexpr std::array kCtaLimits{1, 2, 4};  // upper ends of the bins; one more bin above
constexpr std::array kRegisterLimits{96, 128, 168};
constexpr std::array kSmemLimits{32 << 10, 64 << 10, 100 << 10, 164 << 10};

template <class Limits>
int bin_of(std::int64_t value, const Limits& limits) {
  int bin = 0;
  for (const auto limit : limits) bin += value > limit ? 1 : 0;
  return bin;
}

template <class Limits>
std::string bin_text(int bin, const Limits& limits, std::int64_t unit) {
  const auto index = static_cast<std::size_t>(bin);
  if (index < limits.size()) return fmt::format("up to {}", limits[index] / unit);
  return fmt::format("over {}", limits[limits.size() - 1] / unit);
}

std::optional<std::size_t> stages_axis(const Space& space) {
  for (std::size_t axis = 0; axis < space.axes().size(); ++axis) {
    if (space.axes()[axis].name.ends_with("_stages")) return axis;
  }
  return std::nullopt;
}

}  // namespace

int resident_ctas(const TrialFacts& facts, const DeviceFacts& device) {
  constexpr int kWarp = 32;
  constexpr std::int64_t kRegisterUnit = 256;      // registers are given to a warp in such pieces
  constexpr std::int64_t kReservedSmem = 1 << 10;  // of each CTA, by the driver
  if (facts.registers <= 0 || facts.threads <= 0) return 0;
  const std::int64_t warps = (facts.threads + kWarp - 1) / kWarp;
  const std::int64_t warp_registers =
      (std::int64_t{facts.registers} * kWarp + kRegisterUnit - 1) / kRegisterUnit * kRegisterUnit;
  return static_cast<int>(std::min({device.registers_per_sm / (warps * warp_registers),
                                    device.smem_per_sm_bytes / (facts.smem_bytes + kReservedSmem),
                                    device.threads_per_sm / (warps * kWarp)}));
}

MapCell cell_of(const Observation& observation, const Space& space, const DeviceFacts& device) {
  const TrialFacts& facts = observation.facts;
  MapCell cell;
  cell.bins[0] = bin_of(resident_ctas(facts, device), kCtaLimits);
  cell.bins[1] = bin_of(facts.registers, kRegisterLimits);
  cell.bins[2] = bin_of(facts.smem_bytes, kSmemLimits);
  if (const auto axis = stages_axis(space)) cell.bins[3] = observation.point[*axis];
  return cell;
}

std::string to_string(const MapCell& cell, const Space& space) {
  std::string text =
      fmt::format("{} CTAs an SM, {} registers, {} KiB", bin_text(cell.bins[0], kCtaLimits, 1),
                  bin_text(cell.bins[1], kRegisterLimits, 1), bin_text(cell.bins[2], kSmemLimits, 1 << 10));
  if (const auto axis = stages_axis(space); axis && cell.bins[3] >= 0) {
    const Axis& stages = space.axes()[*axis];
    text +=
        fmt::format(", {} {}", stages.name, to_string(stages.values[static_cast<std::size_t>(cell.bins[3])]));
  }
  return text;
}

void EliteIslands::add(std::size_t island, const Elite& elite) {
  const auto [place, added] = islands_[island].try_emplace(elite.cell, elite);
  if (!added && elite.cost_us < place->second.cost_us) place->second = elite;
}

void EliteIslands::migrate() {
  std::vector<std::vector<Elite>> migrants;
  for (std::size_t island = 0; island < size(); ++island) {
    migrants.push_back(elites(island));
    migrants.back().resize(std::min(migrants.back().size(), kMigrants));
  }
  for (std::size_t island = 0; island < size(); ++island) {
    for (const Elite& elite : migrants[island]) add((island + 1) % size(), elite);
  }
}

std::vector<Elite> EliteIslands::elites(std::size_t island) const {
  std::vector<Elite> all;
  for (const auto& [cell, elite] : islands_[island]) all.push_back(elite);
  std::stable_sort(all.begin(), all.end(),
                   [](const Elite& a, const Elite& b) { return a.cost_us < b.cost_us; });
  return all;
}

}  // namespace attune
