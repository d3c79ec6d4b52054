// The embedded engine: SQLite behind the seam, and the stores over it.
#include "cache/sqlite_database.h"

#include "cache/schema.h"
#include "cache/sql_jobs.h"
#include "cache/sql_store.h"
#include "cache/sync_pacer.h"

namespace attune {
namespace {

constexpr int kBusyTimeoutMs = 5000;

class SqliteDatabase final : public SqlDatabase {
 public:
  explicit SqliteDatabase(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}

  std::string name() const override { return "database " + connection_->file().string(); }

  Status query(const std::string& sql, const std::vector<SqlValue>& values,
               const RowVisitor& visitor) override {
    auto statement = connection_->prepare(sql, values);
    if (!statement) return statement.error();
    for (;;) {
      auto row = statement->step();
      if (!row) return row.error();
      if (!*row) return {};
      if (auto status = visitor(*statement); !status) return status;
    }
  }

  Status transact(Extent, const std::function<Status()>& work) override {
    if (auto status = check_writable(); !status) return status;
    if (auto status = pacer_.choose(*connection_); !status) return status;
    auto transaction = Transaction::begin(*connection_);
    if (!transaction) return transaction.error();
    if (auto status = work(); !status) return status;
    if (auto status = transaction->commit(); !status) return status;
    // Deleted in between: the commit went to a file that no one can open any more.
    return check_writable();
  }

  std::string clock() const override { return "(julianday('now') - 2440587.5) * 86400.0"; }

  Result<bool> has_wanted() override {
    const auto version = connection_->integer("PRAGMA user_version");
    if (!version) return version.error();
    return *version >= 4;
  }

 private:
  Status check_writable() const {
    if (connection_->is_read_only()) return fail("{}: is opened for reading only", name());
    if (connection_->is_gone()) {
      return fail(
          "{}: was deleted or replaced while it was open; run the same command again to start a new one",
          name());
    }
    return {};
  }

  const std::unique_ptr<Connection> connection_;
  SyncPacer pacer_;
};

}  // namespace

Result<std::unique_ptr<TrialStore>> open_sqlite_store(const std::filesystem::path& file,
                                                      const SqliteOptions& options) {
  auto connection = open_database(file, options);
  if (!connection) return connection.error();
  return std::unique_ptr<TrialStore>(
      std::make_unique<SqlStore>(std::make_unique<SqliteDatabase>(*std::move(connection))));
}

// Does not look at the pages again: open_sqlite_store() has, and on a large file that takes long.
Result<std::unique_ptr<JobStore>> open_sqlite_jobs(const std::filesystem::path& file,
                                                   const JobStoreOptions& options) {
  auto writer = Connection::open(file, Connection::Mode::create, kBusyTimeoutMs);
  if (!writer) return writer.error();
  if (auto status = (*writer)->execute("PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL"); !status)
    return status.error();
  auto reader = open_read_only(file, kBusyTimeoutMs);
  if (!reader) return reader.error();
  const auto version = (*reader)->integer("PRAGMA user_version");
  if (!version) return version.error();
  if (*version != kSchemaVersion) return fail("database {}: open it as a trial store first", file.string());
  return std::unique_ptr<JobStore>(std::make_unique<SqlJobStore>(
      std::make_unique<SqliteDatabase>(*std::move(writer)),
      std::make_unique<SqliteDatabase>(*std::move(reader)), SqlJobStore::Sharing::alone, options));
}

}  // namespace attune
