// attune worker: the child process that touches the GPU (autotuner/worker.h); started by attune itself.
#include "autotuner/worker.h"

#include <csignal>
#include <memory>

#include "cli/command.h"

namespace attune::cli {

Action configure_worker(CLI::App& app) {
  auto socket = std::make_shared<int>(-1);
  app.add_option("--fd", *socket, "Descriptor of the socket to the parent")->required();
  return [socket] {
    // A terminal sends Ctrl-C to the whole process group; the parent decides when its worker ends.
    std::signal(SIGINT, SIG_IGN);
    return run_worker(*socket);
  };
}

}  // namespace attune::cli
