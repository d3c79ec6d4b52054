// CUDA cannot be used in a process that was forked after it was used, and calls that try may hang.
#pragma once

namespace attune {

// How often this process and its ancestors have forked since the library was loaded. Cheap: one read.
unsigned fork_generation();

}  // namespace attune
