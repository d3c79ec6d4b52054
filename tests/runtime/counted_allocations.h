#pragma once

namespace attune {

// By operator new, in the whole test program; what the C library takes for itself is not seen.
long allocations_of_this_thread();

}  // namespace attune
