#pragma once

#include <string>

namespace attune {

// Now in UTC, as in "2026-11-22T01:25:48Z": the form in which times are stored and shown.
std::string utc_timestamp();

}  // namespace attune
