#pragma once

#include <chrono>

namespace attune {

// Requests a time slice (0.1 to 100 ms) for the calling thread and the threads and processes that it starts.
// Who has a short one runs soon after it wakes up; who has a long one is interrupted by whoever wakes up. The
// share of the processor stays the same. Linux 6.12 and newer do so, for ordinary scheduling policies
// (sched_setattr(2), the runtime of SCHED_OTHER); elsewhere nothing happens.
void request_time_slice(std::chrono::microseconds slice);

}  // namespace attune
