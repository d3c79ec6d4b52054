// What a finished (or interrupted) search is summed up as.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "autotuner/target.h"
#include "autotuner/tune.h"

namespace attune {

struct TuneReport {
  const Target& target;
  const TuneOptions& options;
  const TuneResult& result;
  std::string database;
  int compilers = 1;         // kernels compiled at once
  double setup_seconds = 0;  // before the search: GPU, reference kernels, database
};

// Default time over best time; none when either is missing.
std::optional<double> speedup_over_default(const TuneResult& result);

// Where the time of the search went: which of the two was the limit. Shares of 1.
struct BusyShares {
  double gpu = 0;
  double compilers = 0;  // of all of them together
  double at_limit = 0;   // the GPU measured, or every compiler had work
};
BusyShares busy_shares(const TuneReport& report);

nlohmann::json to_json(const TuneReport& report);

}  // namespace attune
