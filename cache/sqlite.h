// SQLite's C API as values: a connection, prepared statements that are kept, transactions, and errors that a
// person can act on. Not thread safe: its owner locks. Private to cache/.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "cache/sql_database.h"

struct sqlite3;
struct sqlite3_stmt;

namespace attune {

class Connection;

// A prepared statement on loan from its connection; given back (reset) when it goes out of scope.
class Statement final : public SqlRow {
 public:
  Statement(const Connection& connection, sqlite3_stmt* statement)
      : connection_(&connection), statement_(statement) {}
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;
  Statement(Statement&& other) noexcept
      : connection_(other.connection_), statement_(std::exchange(other.statement_, nullptr)) {}
  Statement& operator=(Statement&&) = delete;
  ~Statement() override;

  void bind(const std::vector<SqlValue>& values);  // all parameters, in order

  Result<bool> step();  // true: there is a row
  Status run();         // steps to the end, for statements without rows

  std::int64_t integer(int column) const override;
  double real(int column) const override;
  std::string text(int column) const override;
  bool is_null(int column) const override;

 private:
  const Connection* connection_;
  sqlite3_stmt* statement_;
};

class Connection {
 public:
  // immutable: read-only, trusting that no one writes meanwhile; needs neither locks nor a writable folder.
  enum class Mode { immutable, read_only, create };

  // Opens without looking at what is inside (schema.h does that).
  static Result<std::unique_ptr<Connection>> open(const std::filesystem::path& file, Mode mode,
                                                  int busy_timeout_ms);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  Status execute(const std::string& sql);  // any number of statements, rows ignored

  // Compiled once for each text. One text must not be in use twice at the same time.
  Result<Statement> prepare(const std::string& sql);
  Result<Statement> prepare(const std::string& sql, const std::vector<SqlValue>& values);

  Result<std::int64_t> integer(const std::string& sql,
                               const std::vector<SqlValue>& values = {});  // 0 without a row

  std::int64_t last_insert_id() const;
  std::int64_t changes() const;  // rows changed by the latest statement
  bool is_read_only() const;

  // True when the path no longer leads to the file that is open: writing would be to nowhere.
  bool is_gone() const;

  // Of the latest failure: another process's lock; not being able to open the file or its companions.
  bool is_busy() const;
  bool cannot_open() const;

  // The latest failure in words: what, which file, what to do.
  Error error() const;
  const std::filesystem::path& file() const { return file_; }

 private:
  Connection(std::filesystem::path file, sqlite3* database, int busy_timeout_ms)
      : file_(std::move(file)), database_(database), busy_timeout_ms_(busy_timeout_ms) {}

  std::filesystem::path file_;
  sqlite3* database_;
  int busy_timeout_ms_;
  std::unordered_map<std::string, sqlite3_stmt*> statements_;
};

// BEGIN IMMEDIATE ... COMMIT; rolled back when it goes out of scope without commit().
class Transaction {
 public:
  static Result<Transaction> begin(Connection& connection);
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  Transaction(Transaction&& other) noexcept : connection_(std::exchange(other.connection_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  Status commit();

 private:
  explicit Transaction(Connection& connection) : connection_(&connection) {}
  Connection* connection_;
};

}  // namespace attune
