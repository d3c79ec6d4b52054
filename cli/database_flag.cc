#include "cli/database_flag.h"

namespace attune::cli {

void add_database_flag(CLI::App& app, std::string& database) {
  app.add_option("--db", database, "Database (default: ATTUNE_DB, else attune.db in the cache folder)")
      ->type_name("FILE");
}

std::filesystem::path database_path(const std::string& flag) {
  return flag.empty() ? default_database() : std::filesystem::path(flag);
}

Result<std::unique_ptr<TrialStore>> open_existing(const std::filesystem::path& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) {
    return fail("there is no database {}: tune something first, or name another with --db", file.string());
  }
  return open_sqlite_store(file, {.read_only = true});
}

}  // namespace attune::cli
