#include "cli/search_flags.h"

namespace attune::cli {

void add_search_flags(CLI::App& app, double& max_seconds, std::uint64_t& seed, bool& remeasure,
                      int& threads) {
  app.add_option("--max-seconds", max_seconds, "Stop after this time; 0: no limit")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->type_name("S");
  app.add_option(
         "--seed", seed,
         "Of the random choices; on a GPU what is proposed later also depends on which trials end first")
      ->capture_default_str()
      ->type_name("K");
  app.add_flag("--remeasure", remeasure, "Measure again what is already stored");
  app.add_option("--threads", threads,
                 "Kernels compiled at once, each in a process of its own (default: one a core)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

void add_devices_flags(CLI::App& app, std::string& device, std::string& gpus, bool& require_gpu) {
  app.add_option("--device", device, "auto (GPU 0, else all recordings), gpu:N, or recorded:NAME")
      ->capture_default_str()
      ->type_name("D");
  app.add_option("--gpus", gpus, "Several GPUs of one model, a worker each: 0,1,... or all")
      ->type_name("LIST");
  app.add_flag("--require-gpu", require_gpu, "Fail with exit code 3 rather than replay recordings");
}

}  // namespace attune::cli
