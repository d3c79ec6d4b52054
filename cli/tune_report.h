#pragma once

#include <string>

#include "autotuner/tune_report.h"

namespace attune::cli {

// What a finished (or interrupted) search is summed up as, for people.
std::string to_text(const TuneReport& report);

}  // namespace attune::cli
