#include "cache/postgres.h"

#include <poll.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <thread>

#include "cache/location.h"

namespace attune {
namespace {

constexpr int kOldestServer = 130000;  // pg_current_xact_id(), gen_random_uuid()
constexpr Oid kByteaOid = 17;          // pg_type.dat; fixed for ever
constexpr int kMostTries = 5;          // to connect to a server that may_pass() what it says
constexpr std::chrono::milliseconds kBetweenTries{200};
constexpr std::chrono::seconds kGrace{5};  // for the server's own timeout to arrive

// libpq speaks in paragraphs.
std::string server_text(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const bool blank = c == '\n' || c == '\t' || c == ' ';
    if (blank && (line.empty() || line.back() == ' ')) continue;
    line += blank ? ' ' : c;
  }
  while (line.ends_with(' ')) line.pop_back();
  return line;
}

bool mentions(const std::string& text, std::string_view words) {
  return text.find(words) != std::string::npos;
}

// What to do when no connection could be made, from the server's words (which may be in another language).
std::string advice_on_connecting(const std::string& said) {
  if (mentions(said, "password") || mentions(said, "authentication"))
    return "put the right password into ~/.pgpass or PGPASSWORD, or name another user in --db";
  if (mentions(said, "database") && mentions(said, "does not exist"))
    return "make it with createdb, or name another with --db";
  if (mentions(said, "too many") || mentions(said, "remaining connection slots"))
    return "raise max_connections of the server, or let others end";
  return "check that the server runs and lets you in, or name another database with --db";
}

// A server that is on its way up or down, or has dropped just this connection.
bool may_pass(const std::string& said) {
  return mentions(said, "terminating connection") || mentions(said, "is starting up") ||
         mentions(said, "is shutting down") || mentions(said, "not yet accepting connections");
}

std::string advice_on(const std::string& sqlstate, const std::string& said,
                      std::chrono::milliseconds timeout) {
  if (sqlstate == "57014" || sqlstate == "55P03")
    return fmt::format("gave no answer within {} s ({}); is another process holding a lock there?",
                       std::chrono::duration_cast<std::chrono::seconds>(timeout).count(), said);
  if (sqlstate == "53100")
    return "the server's disk is full; free space and run the same command again, earlier trials are kept";
  if (sqlstate == "42501")
    return fmt::format("{}; GRANT it to this user, or name another user in --db", said);
  if (sqlstate == "25006") return "is read-only here (a standby?); name the primary server with --db";
  if (sqlstate == "42P01" || sqlstate == "3F000")
    return fmt::format("has lost its tables ({}); run the same command again to make new ones", said);
  return fmt::format("failed ({}, SQLSTATE {})", said, sqlstate);
}

// '?' as PostgreSQL counts: $1, $2, ...
std::string numbered(const std::string& sql) {
  std::string text;
  int number = 0;
  for (const char c : sql) {
    if (c == '?') {
      text += fmt::format("${}", ++number);
    } else {
      text += c;
    }
  }
  return text;
}

// Parameters as libpq takes them. All are text but bytes, so that the server finds the type.
struct Parameters {
  std::vector<std::string> texts;
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;

  Status add(const SqlValue& value) {
    if (std::holds_alternative<std::monostate>(value)) {
      push(nullptr, 0, 0);
    } else if (const auto* integer = std::get_if<std::int64_t>(&value)) {
      push(std::to_string(*integer));
    } else if (const auto* real = std::get_if<double>(&value)) {
      push(fmt::format("{:.17g}", *real));
    } else if (const auto* bytes = std::get_if<SqlBytes>(&value)) {
      push(bytes->bytes.data(), bytes->bytes.size(), 1);
    } else {
      const auto& text = std::get<std::string>(value);
      if (text.find('\0') != std::string::npos)
        return fail("a text with a zero byte in it can not be kept there: {}",
                    text.substr(0, text.find('\0')));
      push(text);
    }
    return {};
  }

 private:
  void push(std::string text) {
    texts.push_back(std::move(text));
    push(texts.back().c_str(), texts.back().size(), 0);
  }
  void push(const char* data, std::size_t size, int format) {
    values.push_back(data);
    lengths.push_back(static_cast<int>(size));
    formats.push_back(format);
  }
};

int hex_digit(char c) {
  return c <= '9' ? c - '0' : c - 'a' + 10;
}

}  // namespace

std::int64_t PostgresRows::integer(int row, int column) const {
  const char* text = api_->PQgetvalue(result_.get(), row, column);
  std::int64_t value = 0;
  std::from_chars(text, text + std::strlen(text), value);
  return value;
}

double PostgresRows::real(int row, int column) const {
  const char* text = api_->PQgetvalue(result_.get(), row, column);
  double value = 0;
  std::from_chars(text, text + std::strlen(text), value);  // "Infinity" too
  return value;
}

std::string PostgresRows::text(int row, int column) const {
  const char* value = api_->PQgetvalue(result_.get(), row, column);
  const auto size = static_cast<std::size_t>(api_->PQgetlength(result_.get(), row, column));
  if (api_->PQftype(result_.get(), column) != kByteaOid || size < 2) return {value, size};
  std::string bytes;  // bytea_output = hex: \x6869
  for (std::size_t i = 2; i + 1 < size; i += 2)
    bytes += static_cast<char>(hex_digit(value[i]) << 4 | hex_digit(value[i + 1]));
  return bytes;
}

Result<std::unique_ptr<PostgresConnection>> PostgresConnection::open(const std::string& uri,
                                                                     const Options& options) {
  const auto api = libpq::open();
  if (!api) return fail("database {}: {}", shown(uri), api.error().message);
  char* why = nullptr;
  PQconninfoOption* parsed = (*api)->PQconninfoParse(uri.c_str(), &why);
  if (parsed == nullptr) {  // libpq's own words may quote the password
    (*api)->PQfreemem(why);
    return fail("database {}: is no URI that libpq understands; as in postgresql://user@host/database",
                shown(uri));
  }
  (*api)->PQconninfoFree(parsed);
  // What stands before the URI it may overrule.
  constexpr std::array<const char*, 9> keys{"connect_timeout",
                                            "application_name",
                                            "keepalives_idle",
                                            "keepalives_interval",
                                            "keepalives_count",
                                            "tcp_user_timeout",
                                            "dbname",
                                            "client_encoding",
                                            nullptr};
  const std::array<const char*, 9> values{"10",    "attune",    "10",   "5",    "3",
                                          "30000", uri.c_str(), "UTF8", nullptr};
  std::unique_ptr<PostgresConnection> connection;
  PGconn* raw = nullptr;
  for (int tried = 1;; ++tried) {
    raw = (*api)->PQconnectdbParams(keys.data(), values.data(), /*expand_dbname=*/1);
    if (raw == nullptr) throw std::bad_alloc();
    connection.reset(new PostgresConnection(**api, raw, "database " + shown(uri), options));
    if ((*api)->PQstatus(raw) == CONNECTION_OK) break;
    const std::string said = server_text((*api)->PQerrorMessage(raw));
    if (tried == kMostTries || !may_pass(said))
      return fail("{}: {}; {}", connection->name_, said, advice_on_connecting(said));
    std::this_thread::sleep_for(kBetweenTries);
  }
  if ((*api)->PQserverVersion(raw) < kOldestServer)
    return fail("{}: is PostgreSQL {}, attune needs 13 or newer", connection->name_,
                (*api)->PQserverVersion(raw) / 10000);
  // One that is lost again already is found to be so by its first use.
  if (auto status = connection->set_up(); !status && !connection->lost()) return status.error();
  return connection;
}

Status PostgresConnection::set_up() {
  api_.PQsetNoticeProcessor(
      connection_.get(), [](void*, const char*) {}, nullptr);  // not onto stderr
  if (api_.PQsetnonblocking(connection_.get(), 1) != 0) return broken("libpq has no memory");
  return run_all(fmt::format(
      "SET statement_timeout = {0}; SET lock_timeout = {0}; SET idle_in_transaction_session_timeout = {1}; "
      "SET bytea_output = 'hex'; SET default_transaction_read_only = {2}; "
      "SET default_transaction_isolation = 'read committed'",
      options_.statement_timeout.count(), 10 * options_.statement_timeout.count(),
      options_.read_only ? "on" : "off"));
}

bool PostgresConnection::wait(std::chrono::steady_clock::time_point deadline, bool to_write) const {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  if (left.count() <= 0) return false;
  pollfd socket{};
  socket.fd = api_.PQsocket(connection_.get());
  socket.events = static_cast<short>(to_write ? POLLIN | POLLOUT : POLLIN);
  (void)::poll(&socket, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 1000)));
  return true;  // ready, or time to look again
}

Result<PostgresRows> PostgresConnection::receive(bool sent) {
  sqlstate_.clear();
  if (!sent) return broken(server_text(api_.PQerrorMessage(connection_.get())));
  const auto deadline = std::chrono::steady_clock::now() + options_.statement_timeout + kGrace;
  const auto silent = [this] {
    return broken(fmt::format(
        "the server has been silent for {} s",
        std::chrono::duration_cast<std::chrono::seconds>(options_.statement_timeout + kGrace).count()));
  };
  for (int flushed = 1; flushed != 0;) {
    flushed = api_.PQflush(connection_.get());
    if (flushed < 0) return broken(server_text(api_.PQerrorMessage(connection_.get())));
    if (flushed > 0 && !wait(deadline, true)) return silent();
    if (flushed > 0) (void)api_.PQconsumeInput(connection_.get());
  }
  std::optional<PostgresRows> rows;
  std::optional<Error> error;
  for (;;) {
    while (api_.PQisBusy(connection_.get()) != 0) {
      if (!wait(deadline, false)) return silent();
      if (api_.PQconsumeInput(connection_.get()) == 0)
        return broken(server_text(api_.PQerrorMessage(connection_.get())));
    }
    PGresult* result = api_.PQgetResult(connection_.get());
    if (result == nullptr) break;
    PostgresRows owned(api_, result);
    const auto status = api_.PQresultStatus(result);
    const bool fine = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY;
    if (!fine && !error) error = failed(result);
    rows.emplace(std::move(owned));
  }
  if (error) return *error;
  if (!rows) return broken("the server ended the connection");
  return *std::move(rows);
}

// A statement's own failure, or the server's farewell.
Error PostgresConnection::failed(const PGresult* result) {
  const char* state = api_.PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* message = api_.PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  sqlstate_ = state == nullptr ? "" : state;
  const std::string said = server_text(message == nullptr ? api_.PQresultErrorMessage(result) : message);
  const bool farewell = sqlstate_.empty() || sqlstate_.starts_with("08") ||
                        (sqlstate_.starts_with("57P") && sqlstate_ <= "57P05") || sqlstate_ == "25P03" ||
                        api_.PQstatus(connection_.get()) == CONNECTION_BAD;
  if (farewell) return broken(said);
  return fail("{}: {}", name_, advice_on(sqlstate_, said, options_.statement_timeout));
}

Error PostgresConnection::broken(const std::string& why) {
  lost_ = true;
  return fail("{}: the connection was lost ({})", name_, why);
}

Result<PostgresRows> PostgresConnection::run(const std::string& sql, const std::vector<SqlValue>& values) {
  Parameters parameters;
  parameters.texts.reserve(values.size());  // pointers into it stay good
  for (const SqlValue& value : values) {
    if (auto status = parameters.add(value); !status) {
      sqlstate_ = "22021";
      return fail("{}: {}", name_, status.error().message);
    }
  }
  return receive(api_.PQsendQueryParams(connection_.get(), numbered(sql).c_str(),
                                        static_cast<int>(values.size()), nullptr, parameters.values.data(),
                                        parameters.lengths.data(), parameters.formats.data(),
                                        /*resultFormat=*/0) != 0);
}

Status PostgresConnection::run_all(const std::string& sql) {
  const auto rows = receive(api_.PQsendQuery(connection_.get(), sql.c_str()) != 0);
  return rows ? Status() : Status(rows.error());
}

}  // namespace attune
