// NVRTC in child processes. Within one process NVRTC parses one source at a time and its optimizer's threads
// share one heap, so that 16 threads made 9.8 kernels a second where 16 processes make 13.3
// on the 16 cores of an H100's host; and a compile that crashes or never ends costs its own process
// alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "compiler/nvrtc.h"

namespace attune {

// An Nvrtc whose compile() runs in a child process made by `worker_command` (a program that calls
// run_compile_worker()), one a concurrent caller; processes are kept for the next compile and end with this
// object. version(), path() and key() are those of `loaded`, which must be the library that a child opens,
// too.
//
// A compile past its timeout is killed, nothing is abandoned. A child that dies is that compile's error,
// whose log says by which signal.
std::shared_ptr<const Nvrtc> nvrtc_in_processes(std::shared_ptr<const Nvrtc> loaded,
                                                std::vector<std::string> worker_command);

// The child's side: answers compile requests on standard input and output until its parent is gone. Returns
// the process's exit code.
int run_compile_worker();

}  // namespace attune
