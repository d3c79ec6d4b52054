// What a sweep is summed up as: Markdown for people, JSON for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "autotuner/claimed_sweep.h"
#include "autotuner/sweep.h"
#include "autotuner/workload.h"
#include "cli/sweep_baseline.h"

namespace attune::cli {

struct SweepReport {
  const Workload& workload;
  const std::vector<std::optional<std::size_t>>& shape_of_row;
  const std::vector<std::string>& left_out;
  const SweepResult& result;
  const SweepOptions& options;
  DeviceFacts device;
  bool replayed = false;
  std::string command;
  std::string database;
  std::optional<SweepBaseline> baseline;  // absent: the template's default config
  std::optional<ClaimShare> claims = {};  // of a sweep shared with other hosts
};

// A table a model, a summary, by length, by head dimension, methodology. Speedups are baseline over attune;
// averages are geometric means.
std::string to_markdown(const SweepReport& report);

// One line a row, and totals.
std::string to_text(const SweepReport& report);
nlohmann::json to_json(const SweepReport& report);

}  // namespace attune::cli
