// The programs of attune's child processes, which attune starts itself: the one that touches the GPU
// (autotuner/worker.h) and those that compile (compiler/nvrtc_processes.h).
#include "autotuner/worker.h"

#include <sys/resource.h>

#include <memory>

#include "cli/command.h"
#include "compiler/nvrtc_processes.h"

namespace attune::cli {

Action configure_worker(CLI::App& /*app*/) {
  return run_worker;
}

Action configure_compile_worker(CLI::App& app) {
  auto niceness = std::make_shared<int>(0);
  app.add_option("--nice", *niceness, "Stand back for other processes");
  return [niceness] {
    if (*niceness != 0) (void)setpriority(PRIO_PROCESS, 0, *niceness);  // not being allowed to costs nothing
    return run_compile_worker();
  };
}

}  // namespace attune::cli
