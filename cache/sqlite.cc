#include "cache/sqlite.h"

#include <sqlite3.h>

#include <cstring>

namespace attune {
namespace {

// What to do about a result code, after "database FILE: ".
std::string advice(int extended_code, int busy_timeout_ms, const std::string& said) {
  switch (extended_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return fmt::format(
          "is locked by another process (waited {} ms); let it end, or name another file with --db",
          busy_timeout_ms);
    case SQLITE_CORRUPT:
      return fmt::format(
          "is damaged ({}); see what is wrong with attune cache verify, then move the file away or "
          "restore it",
          said);
    case SQLITE_NOTADB:
      return "is not a SQLite database; name another file with --db";
    case SQLITE_FULL:
      return "the disk is full; free space and run the same command again, earlier trials are kept";
    case SQLITE_IOERR:
      return fmt::format(
          "could not be read or written ({}); check the disk and run the same command again, earlier "
          "trials are kept",
          said);
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return fmt::format(
          "cannot be written ({}); give yourself write permission or name another file with --db", said);
    case SQLITE_CANTOPEN:
      return fmt::format(
          "cannot be opened ({}); check the path and its permissions, or name another file with --db", said);
    default:
      return fmt::format("failed ({}); see what is wrong with attune cache verify", said);
  }
}

void bind_value(sqlite3_stmt* statement, int index, const SqlValue& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) {
    sqlite3_bind_int64(statement, index, *integer);
  } else if (const auto* real = std::get_if<double>(&value)) {
    sqlite3_bind_double(statement, index, *real);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    sqlite3_bind_text64(statement, index, text->data(), text->size(), SQLITE_TRANSIENT, SQLITE_UTF8);
  } else if (const auto* bytes = std::get_if<SqlBytes>(&value)) {
    sqlite3_bind_text64(statement, index, bytes->bytes.data(), bytes->bytes.size(), SQLITE_TRANSIENT,
                        SQLITE_UTF8);
  } else {
    sqlite3_bind_null(statement, index);
  }
}

std::string immutable_uri(const std::filesystem::path& file) {
  std::string uri = "file:";
  for (const char c : std::filesystem::absolute(file).string()) {
    if (c == '?' || c == '#' || c == '%') {
      uri += fmt::format("%{:02x}", c);
    } else {
      uri += c;
    }
  }
  return uri + "?immutable=1";
}

}  // namespace

Statement::~Statement() {
  if (!statement_) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Statement::bind(const std::vector<SqlValue>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) bind_value(statement_, static_cast<int>(i) + 1, values[i]);
}

Result<bool> Statement::step() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return connection_->error();
  }
}

Status Statement::run() {
  for (;;) {
    auto row = step();
    if (!row) return row.error();
    if (!*row) return {};
  }
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

double Statement::real(int column) const {
  return sqlite3_column_double(statement_, column);
}

std::string Statement::text(int column) const {
  const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (!bytes) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

Result<std::unique_ptr<Connection>> Connection::open(const std::filesystem::path& file, Mode mode,
                                                     int busy_timeout_ms) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  flags |= mode == Mode::create ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY;
  if (mode == Mode::immutable) flags |= SQLITE_OPEN_URI;
  const std::string name = mode == Mode::immutable ? immutable_uri(file) : file.string();
  sqlite3* database = nullptr;
  const int code = sqlite3_open_v2(name.c_str(), &database, flags, nullptr);
  std::unique_ptr<Connection> connection(new Connection(file, database, busy_timeout_ms));
  if (code != SQLITE_OK) return connection->error();
  sqlite3_busy_timeout(database, busy_timeout_ms);
  return connection;
}

Connection::~Connection() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(database_);
}

Status Connection::execute(const std::string& sql) {
  if (sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return error();
  return {};
}

Result<Statement> Connection::prepare(const std::string& sql) {
  auto found = statements_.find(sql);
  if (found == statements_.end()) {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) return error();
    found = statements_.emplace(sql, statement).first;
  }
  return Statement(*this, found->second);
}

Result<Statement> Connection::prepare(const std::string& sql, const std::vector<SqlValue>& values) {
  auto statement = prepare(sql);
  if (statement) statement->bind(values);
  return statement;
}

Result<std::int64_t> Connection::integer(const std::string& sql, const std::vector<SqlValue>& values) {
  auto statement = prepare(sql, values);
  if (!statement) return statement.error();
  auto row = statement->step();
  if (!row) return row.error();
  return *row ? statement->integer(0) : 0;
}

std::int64_t Connection::last_insert_id() const {
  return sqlite3_last_insert_rowid(database_);
}

std::int64_t Connection::changes() const {
  return sqlite3_changes64(database_);
}

bool Connection::is_read_only() const {
  return sqlite3_db_readonly(database_, "main") == 1;
}

bool Connection::is_gone() const {
  int moved = 0;
  sqlite3_file_control(database_, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
  return moved != 0;
}

bool Connection::is_busy() const {
  return (sqlite3_extended_errcode(database_) & 0xff) == SQLITE_BUSY;
}

bool Connection::cannot_open() const {
  const int code = sqlite3_extended_errcode(database_);
  return (code & 0xff) == SQLITE_CANTOPEN || code == SQLITE_READONLY_CANTINIT ||
         code == SQLITE_READONLY_DIRECTORY;
}

Error Connection::error() const {
  const int code = database_ ? sqlite3_extended_errcode(database_) : SQLITE_NOMEM;
  std::string said = database_ ? sqlite3_errmsg(database_) : "out of memory";
  const int system_error = database_ ? sqlite3_system_errno(database_) : 0;
  const int primary = code & 0xff;
  if (system_error != 0 && (primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN)) {
    said += fmt::format(": {}", std::strerror(system_error));
  }
  return fail("database {}: {}", file_.string(), advice(code, busy_timeout_ms_, said));
}

Result<Transaction> Transaction::begin(Connection& connection) {
  if (auto status = connection.execute("BEGIN IMMEDIATE"); !status) return status.error();
  return Transaction(connection);
}

Transaction::~Transaction() {
  // A failed write may have rolled back already; then this one fails, which is fine.
  if (connection_) (void)connection_->execute("ROLLBACK");
}

Status Transaction::commit() {
  if (auto status = connection_->execute("COMMIT"); !status) return status;
  connection_ = nullptr;
  return {};
}

}  // namespace attune
