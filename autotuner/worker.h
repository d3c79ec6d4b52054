#pragma once

namespace attune {

// The body of the GPU worker process (`attune worker`): serves worker_protocol.h on standard input and output
// until its input ends or the GPU context is lost. Returns the process's exit code. Ignores SIGINT, which a
// terminal sends to the whole group: the tune process decides when to stop. Ends with its parent.
int run_worker();

}  // namespace attune
