// libpq as values: a connection whose every call has a deadline, and errors that a person can act on. Not
// thread safe: its owner locks. Private to cache/.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/libpq.h"
#include "cache/sql_database.h"

namespace attune {

// The rows of an answer, in memory.
class PostgresRows {
 public:
  PostgresRows(const libpq::Table& api, PGresult* result) : api_(&api), result_(result, api.PQclear) {}

  int size() const { return api_->PQntuples(result_.get()); }
  std::int64_t integer(int row, int column) const;
  double real(int row, int column) const;
  std::string text(int row, int column) const;
  bool is_null(int row, int column) const { return api_->PQgetisnull(result_.get(), row, column) != 0; }
  std::string command() const { return api_->PQcmdStatus(result_.get()); }  // "COMMIT", "INSERT 0 1"

 private:
  const libpq::Table* api_;
  std::unique_ptr<PGresult, decltype(&::PQclear)> result_;
};

class PostgresConnection {
 public:
  struct Options {
    bool read_only = false;
    std::chrono::milliseconds statement_timeout{30000};  // the server gives up; this side soon after
  };

  // Needs PostgreSQL 13 or newer. The password comes from the URI, PGPASSWORD, ~/.pgpass or a service file,
  // as libpq has it.
  static Result<std::unique_ptr<PostgresConnection>> open(const std::string& uri, const Options& options);

  // One statement; parameters are '?'.
  Result<PostgresRows> run(const std::string& sql, const std::vector<SqlValue>& values = {});
  Status run_all(const std::string& sql);  // any number of statements without parameters

  // Of the latest failure: its SQLSTATE, "" without one; whether the connection is of no more use.
  const std::string& sqlstate() const { return sqlstate_; }
  bool lost() const { return lost_; }

  const std::string& name() const { return name_; }  // "database postgresql://host/db"

 private:
  PostgresConnection(const libpq::Table& api, PGconn* connection, std::string name, const Options& options)
      : api_(api), connection_(connection, api.PQfinish), name_(std::move(name)), options_(options) {}
  Status set_up();
  Result<PostgresRows> receive(bool sent);
  bool wait(std::chrono::steady_clock::time_point deadline, bool to_write) const;
  Error failed(const PGresult* result);
  Error broken(const std::string& why);

  const libpq::Table& api_;
  std::unique_ptr<PGconn, decltype(&::PQfinish)> connection_;
  const std::string name_;
  const Options options_;
  std::string sqlstate_;
  bool lost_ = false;
};

}  // namespace attune
