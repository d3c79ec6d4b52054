// PostgreSQL behind the seam of sql_database.h: reconnects, repeats what may be repeated, and finds out what
// became of a commit whose answer was lost. Private to cache/.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "cache/postgres.h"
#include "cache/sql_database.h"

namespace attune {

class PostgresDatabase final : public SqlDatabase {
 public:
  struct Options {
    PostgresConnection::Options connection;
    std::chrono::milliseconds patience{60000};  // with a server that is gone, then it is an error
  };

  // Fails at once where no connection can be made; prepares the schema (postgres_schema.h).
  static Result<std::unique_ptr<PostgresDatabase>> open(std::string uri, const Options& options);

  std::string name() const override { return connection_->name(); }
  Status query(const std::string& sql, const std::vector<SqlValue>& values,
               const RowVisitor& visitor) override;
  Status transact(Extent extent, const std::function<Status()>& work) override;
  std::string clock() const override { return "CAST(extract(epoch FROM now()) AS double precision)"; }
  Result<bool> has_wanted() override { return true; }

 private:
  PostgresDatabase(std::string uri, const Options& options, std::unique_ptr<PostgresConnection> connection,
                   std::string identity)
      : uri_(std::move(uri)),
        options_(options),
        connection_(std::move(connection)),
        identity_(std::move(identity)) {}

  using Clock = std::chrono::steady_clock;
  enum class Fate { committed, undone, repeatable };  // of one attempt
  Result<Fate> attempt(Extent extent, const std::function<Status()>& work, Clock::time_point deadline);
  Result<Fate> fate_of(const std::string& transaction, Clock::time_point deadline);
  Status reconnect(Clock::time_point deadline);
  void pause(int attempt);

  const std::string uri_;
  const Options options_;
  std::unique_ptr<PostgresConnection> connection_;
  const std::string identity_;  // of the database: a reconnection must find the same
  bool in_transaction_ = false;
  std::optional<Error> why_;  // the failure of the latest attempt
  std::minstd_rand jitter_{std::random_device{}()};
};

}  // namespace attune
