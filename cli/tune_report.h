// What a finished (or interrupted) search is summed up as.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "autotuner/tune.h"
#include "cli/target.h"

namespace attune::cli {

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

std::string to_text(const TuneReport& report);
nlohmann::json to_json(const TuneReport& report);

}  // namespace attune::cli
