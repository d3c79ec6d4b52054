// The subcommands of `attune cache`.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/command.h"

namespace attune::cli {

Action configure_cache_ls(CLI::App& app);
Action configure_cache_show(CLI::App& app);
Action configure_cache_export(CLI::App& app);
Action configure_cache_import(CLI::App& app);
Action configure_cache_merge(CLI::App& app);
Action configure_cache_claims(CLI::App& app);
Action configure_cache_copy(CLI::App& app);
Action configure_cache_wanted(CLI::App& app);
Action configure_cache_verify(CLI::App& app);
Action configure_cache_gc(CLI::App& app);

}  // namespace attune::cli
