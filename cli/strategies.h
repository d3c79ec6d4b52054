// The subcommands of `attune strategies`.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "autotuner/replay_space.h"
#include "base/result.h"
#include "cli/command.h"

namespace attune::cli {

Action configure_strategies_list(CLI::App& app);
Action configure_strategies_score(CLI::App& app);
Action configure_strategies_spaces(CLI::App& app);
Action configure_strategies_export(CLI::App& app);

// --recordings: what to replay.
void add_recordings_flag(CLI::App& app, std::vector<std::string>& names);

// What a space to replay was read from.
struct NamedReplay {
  ReplaySpace replay;
  std::string kernel;       // the template's name, "" of a foreign one
  std::string recorded_at;  // UTC, "" where it is not known
};

// Recordings by name or path, and other tuners' files (paths that end in .json); all recordings in the binary
// where `names` is empty.
Result<std::vector<NamedReplay>> read_replays(const std::vector<std::string>& names);

}  // namespace attune::cli
