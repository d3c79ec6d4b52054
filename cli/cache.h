// The subcommands of `attune cache`.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "cache/trial_store.h"
#include "cli/command.h"

namespace attune::cli {

Action configure_cache_ls(CLI::App& app);
Action configure_cache_show(CLI::App& app);
Action configure_cache_export(CLI::App& app);
Action configure_cache_import(CLI::App& app);
Action configure_cache_verify(CLI::App& app);
Action configure_cache_gc(CLI::App& app);

void add_database_flag(CLI::App& app, std::string& database);

// What --db, or its absence, means.
std::filesystem::path database_path(const std::string& flag);

// For reading what is there: a file that does not exist is an error, and none is made.
Result<std::unique_ptr<TrialStore>> open_existing(const std::filesystem::path& file);

}  // namespace attune::cli
