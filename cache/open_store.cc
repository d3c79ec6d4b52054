// Opens what a location names.
#include "cache/job_store.h"
#include "cache/location.h"
#include "cache/postgres_database.h"
#include "cache/sql_jobs.h"
#include "cache/sql_store.h"
#include "cache/sqlite_database.h"
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

Result<std::unique_ptr<JobStore>> open_jobs(const std::string& location, const JobStoreOptions& options) {
  if (!is_server(location)) return open_sqlite_jobs(location, options);
  PostgresDatabase::Options server;
  server.patience = std::chrono::milliseconds(options.server_patience_ms);
  auto writer = PostgresDatabase::open(location, server);
  if (!writer) return writer.error();
  server.connection.read_only = true;
  auto reader = PostgresDatabase::open(location, server);
  if (!reader) return reader.error();
  return std::unique_ptr<JobStore>(std::make_unique<SqlJobStore>(*std::move(writer), *std::move(reader),
                                                                 SqlJobStore::Sharing::shared, options));
}

bool store_exists(const std::string& location) {
  std::error_code ignored;
  return is_server(location) || std::filesystem::exists(location, ignored);
}

}  // namespace attune
