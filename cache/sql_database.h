// The seam between the stores (trials, jobs) and a database engine. SQL that goes through it is understood by
// SQLite and PostgreSQL alike: parameters are '?', booleans are integers 0 and 1, inserts say RETURNING for
// an id. Private to cache/.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace attune {

// Text that may hold any byte: PostgreSQL's own text holds neither a zero nor what is not UTF-8.
struct SqlBytes {
  std::string bytes;
};

using SqlValue =
    std::variant<std::monostate, std::int64_t, double, std::string, SqlBytes>;  // monostate: NULL

// One row of an answer, for as long as it is being visited. NULL is 0 or "".
class SqlRow {
 public:
  virtual ~SqlRow() = default;
  virtual std::int64_t integer(int column) const = 0;
  virtual double real(int column) const = 0;
  virtual std::string text(int column) const = 0;  // of SqlBytes too
  virtual bool is_null(int column) const = 0;
};

using RowVisitor = std::function<Status(const SqlRow&)>;  // an error ends the visit

// An open database. Not thread safe: its owner locks. Errors name the database and what to do.
class SqlDatabase {
 public:
  virtual ~SqlDatabase() = default;

  virtual std::string name() const = 0;  // "database /home/ada/attune.db", without a secret

  // A statement and its rows. Inside transact() part of the transaction, else one of its own. The visitor
  // must not use the database.
  virtual Status query(const std::string& sql, const std::vector<SqlValue>& values,
                       const RowVisitor& visitor) = 0;

  // one: a few rows; `work` may be run more than once, each time on nothing done.
  // bulk: many rows; `work` is run at most once. No other writer gets in between.
  // apart: a few rows that are not of the trials' tables, as `one`; does not wait for a bulk either.
  // in_turn: as `apart`, one after the other of all processes: what it counted still holds at its end.
  enum class Extent { one, bulk, apart, in_turn };

  // All that `work` does, or, on any error, nothing of it. When it returns without one, what was written is
  // as durable as TrialStore::add() promises.
  virtual Status transact(Extent extent, const std::function<Status()>& work) = 0;

  // An expression: seconds since 1970 by the database's clock, the same all through a transaction.
  virtual std::string clock() const = 0;

  // Whether the schema is new enough to have the wanted list.
  virtual Result<bool> has_wanted() = 0;
};

// The visitor of a statement that answers nothing.
inline Status ignore_row(const SqlRow&) {
  return {};
}

// The integer in the first column of the first row, 0 without one.
Result<std::int64_t> integer_of(SqlDatabase& database, const std::string& sql,
                                const std::vector<SqlValue>& values = {});

}  // namespace attune
