// --db, the same for every command.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "base/result.h"
#include "cache/trial_store.h"

namespace attune::cli {

void add_database_flag(CLI::App& app, std::string& database);

// What --db, or its absence, means: a file or a PostgreSQL URI. For output see shown() (cache/location.h).
std::string database_location(const std::string& flag);

// For reading what is there: a file that does not exist is an error, and none is made.
Result<std::unique_ptr<TrialStore>> open_existing(const std::string& location);

}  // namespace attune::cli
