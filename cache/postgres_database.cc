#include "cache/postgres_database.h"

#include <thread>

#include "cache/postgres_schema.h"
#include "cache/sql_store.h"

namespace attune {
namespace {

constexpr int kMostRepeats = 20;  // of a transaction that others get in the way of

// One trial at a time, from many hosts: shared. A whole import: alone, so that what it found to be missing is
// missing when it adds it. Either kind takes its lock first and rows of shapes before those of devices, so
// that no two wait for each other.
constexpr const char* kBeginOne =
    "SELECT pg_current_xact_id()::text, pg_advisory_xact_lock_shared(1635021941, 2)";
constexpr const char* kBeginApart = "SELECT pg_current_xact_id()::text";
constexpr const char* kBeginInTurn =
    "SELECT pg_current_xact_id()::text, pg_advisory_xact_lock(1635021941, 3)";
constexpr const char* kBeginBulk = "SELECT pg_current_xact_id()::text, pg_advisory_xact_lock(1635021941, 2)";

const char* begin_of(SqlDatabase::Extent extent) {
  switch (extent) {
    case SqlDatabase::Extent::one:
      return kBeginOne;
    case SqlDatabase::Extent::bulk:
      return kBeginBulk;
    case SqlDatabase::Extent::apart:
      return kBeginApart;
    case SqlDatabase::Extent::in_turn:
      return kBeginInTurn;
  }
  return kBeginOne;
}

class Row final : public SqlRow {
 public:
  explicit Row(const PostgresRows& rows) : rows_(rows) {}
  bool next() { return ++row_ < rows_.size(); }
  std::int64_t integer(int column) const override {
    return is_null(column) ? 0 : rows_.integer(row_, column);
  }
  double real(int column) const override { return is_null(column) ? 0 : rows_.real(row_, column); }
  std::string text(int column) const override { return rows_.text(row_, column); }
  bool is_null(int column) const override { return rows_.is_null(row_, column); }

 private:
  const PostgresRows& rows_;
  int row_ = -1;
};

// Finds or makes the tables; returns the database's identity, which was drawn when they were made.
Result<std::string> settle(PostgresConnection& connection, const PostgresDatabase::Options& options) {
  if (auto status = prepare_schema(connection, options.connection.read_only); !status) return status.error();
  const auto rows = connection.run("SELECT min(id) FROM identity");
  if (!rows) return rows.error();
  return rows->text(0, 0);
}

}  // namespace

Result<std::unique_ptr<PostgresDatabase>> PostgresDatabase::open(std::string uri, const Options& options) {
  const auto deadline = Clock::now() + options.patience;
  auto connection = PostgresConnection::open(uri, options.connection);
  if (!connection) return connection.error();
  auto identity = settle(**connection, options);
  while (!identity && (*connection)->lost() && Clock::now() < deadline) {
    connection = PostgresConnection::open(uri, options.connection);
    if (!connection) return connection.error();
    identity = settle(**connection, options);
  }
  if (!identity) return identity.error();
  return std::unique_ptr<PostgresDatabase>(
      new PostgresDatabase(std::move(uri), options, *std::move(connection), *std::move(identity)));
}

Status PostgresDatabase::query(const std::string& sql, const std::vector<SqlValue>& values,
                               const RowVisitor& visitor) {
  const auto deadline = Clock::now() + options_.patience;
  auto rows = connection_->run(sql, values);
  while (!rows && connection_->lost() && !in_transaction_) {
    if (auto status = reconnect(deadline); !status) return status;
    rows = connection_->run(sql, values);
  }
  if (!rows) return rows.error();
  for (Row row(*rows); row.next();) {
    if (auto status = visitor(row); !status) return status;
  }
  return {};
}

Status PostgresDatabase::transact(Extent extent, const std::function<Status()>& work) {
  if (options_.connection.read_only) return fail("{}: is opened for reading only", name());
  const auto deadline = Clock::now() + options_.patience;
  for (int repeat = 0;; ++repeat) {
    if (connection_->lost()) {
      if (auto status = reconnect(deadline); !status) return status;
    }
    const auto fate = attempt(extent, work, deadline);
    if (!fate) return fate.error();
    if (*fate == Fate::committed) return {};
    const bool over = repeat >= kMostRepeats || Clock::now() >= deadline;
    if (*fate == Fate::undone || over) return *why_;
    if (!connection_->lost()) pause(repeat);
  }
}

// An Error: it is not known what became of it, or the server is gone for good.
Result<PostgresDatabase::Fate> PostgresDatabase::attempt(Extent extent, const std::function<Status()>& work,
                                                         Clock::time_point deadline) {
  bool begun = false;
  const auto failed = [&](const Error& error, bool may_repeat) {
    why_ = error;
    const std::string& state = connection_->sqlstate();
    const bool waited = !begun && (state == "55P03" || state == "57014");  // for a bulk, too long
    const bool in_the_way = state.starts_with("40") || waited;             // serialization, deadlock
    const bool again = may_repeat && (connection_->lost() || in_the_way);
    if (!connection_->lost()) (void)connection_->run_all("ROLLBACK");
    return again ? Fate::repeatable : Fate::undone;
  };
  if (auto status = connection_->run_all("BEGIN"); !status) return failed(status.error(), true);
  const auto locked = connection_->run(begin_of(extent));
  if (!locked) return failed(locked.error(), true);
  begun = true;
  const std::string transaction = locked->text(0, 0);
  in_transaction_ = true;
  const auto done = work();
  in_transaction_ = false;
  if (!done) return failed(done.error(), extent != Extent::bulk);
  const auto committed = connection_->run("COMMIT");
  if (committed && committed->command() == "COMMIT") return Fate::committed;
  why_ = committed ? fail("{}: the server did not commit", name()) : committed.error();
  if (connection_->lost()) {
    auto fate = fate_of(transaction, deadline);
    if (fate && *fate == Fate::repeatable && extent == Extent::bulk) return Fate::undone;
    return fate;
  }
  return failed(*why_, extent != Extent::bulk);
}

// What the server says of a transaction whose COMMIT was never answered.
Result<PostgresDatabase::Fate> PostgresDatabase::fate_of(const std::string& transaction,
                                                         Clock::time_point deadline) {
  for (int asked = 0;; ++asked) {
    if (connection_->lost()) {
      if (auto status = reconnect(deadline); !status) return status.error();
    }
    const auto told = connection_->run("SELECT pg_xact_status(CAST(? AS xid8))", {transaction});
    if (!told) {
      if (connection_->lost()) continue;
      return told.error();
    }
    const std::string status = told->text(0, 0);
    if (status == "committed") return Fate::committed;
    if (status == "aborted") return Fate::repeatable;
    if (Clock::now() >= deadline)
      return fail("{}: the server does not say whether it was stored; run the same command again", name());
    pause(asked);
  }
}

Status PostgresDatabase::reconnect(Clock::time_point deadline) {
  for (int tried = 0;; ++tried) {
    auto opened = PostgresConnection::open(uri_, options_.connection);
    if (opened) {
      // Another database may stand there by now: its tables are looked at before anything is written.
      const auto identity = settle(**opened, options_);
      if (identity && *identity != identity_)
        return fail("{}: was replaced while it was open; run the same command again", name());
      if (identity) {
        connection_ = *std::move(opened);
        return {};
      }
      if (!(*opened)->lost()) return identity.error();
    }
    if (Clock::now() >= deadline) {
      const std::string why = opened ? "it was lost again at once" : opened.error().message;
      return fail("{}: the connection was lost and could not be made again within {} s ({})", name(),
                  std::chrono::duration_cast<std::chrono::seconds>(options_.patience).count(), why);
    }
    pause(tried);
  }
}

// Doubling from 10 ms to 1 s, jittered, so that hosts don't come back all at once.
void PostgresDatabase::pause(int attempt) {
  const double longest = std::min(1000.0, 10.0 * static_cast<double>(1 << std::min(attempt, 7)));
  const double share = 0.5 + 0.5 * static_cast<double>(jitter_()) / static_cast<double>(jitter_.max());
  std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(longest * share));
}

}  // namespace attune
