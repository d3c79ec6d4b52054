// The subcommands of `attune pack` that are about who stands behind a pack.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace attune::cli {

Action configure_pack_keygen(CLI::App& app);
Action configure_pack_sign(CLI::App& app);
Action configure_pack_fetch(CLI::App& app);

}  // namespace attune::cli
