// Reads the text that NVRTC and ptxas -v print.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/compiled_kernel.h"

namespace attune {

// The report on kernel `entry` of a log that may speak of several functions. Registers 0 if there is none.
ResourceUsage parse_resources(std::string_view log, std::string_view entry);

// Codes C7500 to C7599 in the log, each once, in order of appearance, without the harmless C7519
// ("warpgroup.arrive injected").
std::vector<std::string> parse_warnings(std::string_view log);

// The log without what differs from run to run (compile times) and without white space around it.
std::string trimmed_log(std::string_view log);

}  // namespace attune
