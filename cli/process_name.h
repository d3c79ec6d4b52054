// What this process is called among those of other machines.
#pragma once

#include <string>

namespace attune::cli {

std::string host_and_process();  // "node7:4711"

}  // namespace attune::cli
