#include "cli/search_flags.h"

namespace attune::cli {

void add_search_flags(CLI::App& app, double& max_seconds, std::uint64_t& seed, bool& remeasure,
                      int& threads) {
  app.add_option("--max-seconds", max_seconds, "Stop after this time; 0: no limit")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->type_name("S");
  app.add_option("--seed", seed, "The same seed proposes the same configs")
      ->capture_default_str()
      ->type_name("K");
  app.add_flag("--remeasure", remeasure, "Measure again what is already stored");
  app.add_option("--threads", threads,
                 "Kernels compiled at once, each in a process of its own (default: one a core)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
}

}  // namespace attune::cli
