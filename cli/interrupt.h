#pragma once

#include <atomic>

namespace attune::cli {

// From now on the first Ctrl-C (SIGINT) or SIGTERM sets the flag it returns instead of ending the process; a
// second one ends it at once.
const std::atomic<bool>& catch_interrupts();

}  // namespace attune::cli
