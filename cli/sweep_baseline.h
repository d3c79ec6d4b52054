#pragma once

#include <map>
#include <string>

#include "autotuner/workload.h"
#include "base/result.h"

namespace attune::cli {

// What a report compares with, by the rows' names.
struct SweepBaseline {
  std::string title;       // of its column
  std::string provenance;  // one sentence for the methodology
  std::map<std::string, double> median_us;
};

// SDPA's times from a file of bench/peers.py: of the rows whose shape is one of the workload's. A file of
// another kind is an error.
Result<SweepBaseline> read_baseline(const std::string& path, const Workload& workload);

}  // namespace attune::cli
