// --db, the same for every command.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "cache/trial_store.h"

namespace attune::cli {

void add_database_flag(CLI::App& app, std::string& database);

// What --db, or its absence, means.
std::filesystem::path database_path(const std::string& flag);

// For reading what is there: a file that does not exist is an error, and none is made.
Result<std::unique_ptr<TrialStore>> open_existing(const std::filesystem::path& file);

}  // namespace attune::cli
