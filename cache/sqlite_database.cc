// The embedded engine: SQLite behind the seam, and the TrialStore over it.
#include <chrono>

#include "cache/schema.h"
#include "cache/sql_store.h"

namespace attune {
namespace {

constexpr std::chrono::milliseconds kSyncEvery{20};

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
    if (auto status = choose_sync(); !status) return status;
    auto transaction = Transaction::begin(*connection_);
    if (!transaction) return transaction.error();
    if (auto status = work(); !status) return status;
    if (auto status = transaction->commit(); !status) return status;
    // Deleted in between: the commit went to a file that no one can open any more.
    return check_writable();
  }

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

  // A commit is in the WAL, safe from a killed process, when it returns. Against a power cut it must also
  // reach the disk, milliseconds each: in a burst (a replay) only one commit in kSyncEvery pays that, for all
  // before it.
  Status choose_sync() {
    const auto now = std::chrono::steady_clock::now();
    const bool sync = now - last_sync_ >= kSyncEvery;
    if (sync != syncs_) {
      auto status = connection_->execute(sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
      if (!status) return status;
      syncs_ = sync;
    }
    if (sync) last_sync_ = now;
    return {};
  }

  const std::unique_ptr<Connection> connection_;
  std::chrono::steady_clock::time_point last_sync_{};
  bool syncs_ = true;  // PRAGMA synchronous is FULL, else NORMAL
};

}  // namespace

Result<std::unique_ptr<TrialStore>> open_sqlite_store(const std::filesystem::path& file,
                                                      const SqliteOptions& options) {
  auto connection = open_database(file, options);
  if (!connection) return connection.error();
  return std::unique_ptr<TrialStore>(
      std::make_unique<SqlStore>(std::make_unique<SqliteDatabase>(*std::move(connection))));
}

}  // namespace attune
