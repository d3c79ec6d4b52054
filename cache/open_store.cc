// Opens what a location names.
#include "cache/location.h"
#include "cache/postgres_database.h"
#include "cache/sql_store.h"
#include "cache/trial_store.h"

namespace attune {

Result<std::unique_ptr<TrialStore>> open_store(const std::string& location, const StoreOptions& options) {
  if (!is_server(location)) {
    return open_sqlite_store(location,
                             {.read_only = options.read_only, .busy_timeout_ms = options.busy_timeout_ms});
  }
  PostgresDatabase::Options server;
  server.connection.read_only = options.read_only;
  server.patience = std::chrono::milliseconds(options.server_patience_ms);
  auto database = PostgresDatabase::open(location, server);
  if (!database) return database.error();
  return std::unique_ptr<TrialStore>(std::make_unique<SqlStore>(*std::move(database)));
}

bool store_exists(const std::string& location) {
  std::error_code ignored;
  return is_server(location) || std::filesystem::exists(location, ignored);
}

}  // namespace attune
