#pragma once

#include <chrono>

namespace attune {

// Asks that the calling thread, and threads and processes that it starts, run for so long at a time (0.1 to
// 100 ms) where others want the processor. Short turns come soon after a wake-up; who asks for long ones is
// interrupted by whoever wakes up. The share of the processor stays the same. Linux 6.12 and newer do so,
// for ordinary scheduling policies; elsewhere nothing happens.
void ask_for_turns_of(std::chrono::microseconds length);

}  // namespace attune
