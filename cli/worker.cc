// attune worker: the child process that touches the GPU (autotuner/worker.h); attune starts it itself.
#include "autotuner/worker.h"

#include "cli/command.h"

namespace attune::cli {

Action configure_worker(CLI::App& /*app*/) {
  return run_worker;
}

}  // namespace attune::cli
