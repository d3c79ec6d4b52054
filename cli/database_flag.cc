#include "cli/database_flag.h"

namespace attune::cli {

void add_database_flag(CLI::App& app, std::string& database) {
  app.add_option(
         "--db", database,
         "Database: a file, or postgresql://user@host/name (default: ATTUNE_DB, else attune.db in the "
         "cache folder)")
      ->type_name("DB");
}

std::string database_location(const std::string& flag) {
  return flag.empty() ? default_database() : flag;
}

Result<std::unique_ptr<TrialStore>> open_existing(const std::string& location) {
  if (!store_exists(location))
    return fail("there is no database {}: tune something first, or name another with --db", location);
  return open_store(location, {.read_only = true});
}

}  // namespace attune::cli
