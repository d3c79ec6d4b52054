#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string>

#include "cli/command.h"

namespace attune::cli {
namespace {

constexpr std::array kCommands{
    Command{"tune", "Find, verify and store the fastest kernel for a shape", configure_tune},
    Command{"sweep", "Tune many shapes: a model list, a traffic histogram, what programs asked for",
            configure_sweep},
    Command{"lookup", "Show the best known kernel for a shape, and how it is known", configure_lookup},
    Command{"compile", "Compile one config to a cubin and report its resources", configure_compile},
    Command{"space", "Show a shape's axes, how many configs are legal, and why others are not",
            configure_space},
    Command{"cache", "List, show, export, import, check and shrink what is stored", configure_cache},
    Command{"pack", "Records in a file to ship: make, show, verify, sign, fetch", configure_pack},
    Command{"report", "Write what is stored as one HTML page: curves, scatter, records", configure_report},
    Command{"strategies", "List search strategies, and score them on recorded spaces", configure_strategies},
    Command{"serve", "Tune, look up and compile for others over HTTP", configure_serve},
    Command{"doctor", "Check driver, GPU, NVRTC, database, packs and recordings; say what to do",
            configure_doctor},
    Command{"worker", "", configure_worker},
    Command{"compile-worker", "", configure_compile_worker},
};

// An error is one line, whatever a library's text looks like.
int report(const Error& error, int code) {
  std::string line = error.message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  fmt::print(stderr, "attune: {}\n", line);
  return code;
}

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}

Action with_subcommands(CLI::App& app, std::span<const Command> subcommands) {
  std::vector<std::pair<CLI::App*, Action>> actions;
  for (const Command& command : subcommands) {
    CLI::App* sub = app.add_subcommand(std::string(command.name), std::string(command.summary));
    actions.emplace_back(sub, command.configure(*sub));
  }
  return [actions] {
    for (const auto& [sub, action] : actions) {
      if (sub->parsed()) return action();
    }
    return static_cast<int>(kUsage);
  };
}

int failed(const Error& error) {
  return report(error, kFailed);
}
int usage_error(const Error& error) {
  return report(error, kUsage);
}
int no_gpu(const Error& error) {
  return report(error, kNoGpu);
}

}  // namespace attune::cli
