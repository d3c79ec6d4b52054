#include "cache/schema.h"

#include <array>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string_view>
#include <thread>

namespace attune {
namespace {

// Step i leads from version i to i + 1 and is never edited once released: files written by it exist.
// AUTOINCREMENT: an id is never given twice, so that it orders trials and may be remembered.
constexpr std::array<const char*, kSchemaVersion> kSqliteMigrations{
    R"sql(
CREATE TABLE shapes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  json TEXT NOT NULL UNIQUE,
  batch INTEGER NOT NULL, q_heads INTEGER NOT NULL, kv_heads INTEGER NOT NULL,
  q_len INTEGER NOT NULL, kv_len INTEGER NOT NULL, head_dim INTEGER NOT NULL,
  dtype TEXT NOT NULL, mask TEXT NOT NULL, layout TEXT NOT NULL, lse INTEGER NOT NULL
) STRICT;
CREATE TABLE devices (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  json TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL, arch TEXT NOT NULL, sm_count INTEGER NOT NULL
) STRICT;
CREATE TABLE trials (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  shape_id INTEGER NOT NULL REFERENCES shapes(id),
  template_name TEXT NOT NULL, template_hash TEXT NOT NULL,
  config_json TEXT NOT NULL, config_hash TEXT NOT NULL,
  device_id INTEGER NOT NULL REFERENCES devices(id),
  driver_version INTEGER NOT NULL, driver TEXT NOT NULL,
  replayed INTEGER NOT NULL, nvrtc_version TEXT NOT NULL, policy TEXT NOT NULL,
  outcome TEXT NOT NULL, message TEXT NOT NULL,
  median_us REAL, min_us REAL, spread_us REAL, samples INTEGER,
  relative_error REAL, max_abs_error REAL,
  cubin_key TEXT NOT NULL, cubin_hash TEXT NOT NULL,
  registers INTEGER NOT NULL, spill_bytes INTEGER NOT NULL, smem_bytes INTEGER NOT NULL, compile_ms REAL NOT NULL,
  strategy TEXT NOT NULL, session TEXT NOT NULL, created_at TEXT NOT NULL,
  content_hash TEXT NOT NULL
) STRICT;
CREATE INDEX trials_by_config ON trials (shape_id, config_hash);
CREATE INDEX trials_by_time ON trials (shape_id, median_us) WHERE outcome = 'ok';
CREATE INDEX trials_by_session ON trials (session);
CREATE INDEX trials_by_content ON trials (content_hash);
)sql",
    // Clocks and throttling, where NVML tells them.
    R"sql(
ALTER TABLE trials ADD COLUMN sm_clock_mhz INTEGER;
ALTER TABLE trials ADD COLUMN throttle TEXT;
)sql",
    // Times of a final round, interleaved, outrank those of a search.
    R"sql(
ALTER TABLE trials ADD COLUMN tier INTEGER NOT NULL DEFAULT 1;
DROP INDEX trials_by_time;
CREATE INDEX trials_by_rank ON trials (shape_id, tier, median_us) WHERE outcome = 'ok';
)sql",
    // Shapes that programs asked for in vain. A count belongs to the database that counted it (origin), so
    // that merging twice is merging once.
    R"sql(
CREATE TABLE identity (id TEXT NOT NULL) STRICT;
INSERT INTO identity VALUES (lower(hex(randomblob(16))));
CREATE TABLE wanted (
  shape TEXT NOT NULL, gpu_name TEXT NOT NULL, arch TEXT NOT NULL,
  origin TEXT NOT NULL,
  count INTEGER NOT NULL, first_at TEXT NOT NULL, last_at TEXT NOT NULL,
  PRIMARY KEY (shape, gpu_name, arch, origin)
) STRICT, WITHOUT ROWID;
)sql",
    // Jobs of a server, and what happened in each, in order. Trials may be deleted (attune cache gc): an
    // event only remembers which it was.
    R"sql(
CREATE TABLE jobs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL, request TEXT NOT NULL, client TEXT NOT NULL, priority INTEGER NOT NULL,
  idempotency_key TEXT,
  state TEXT NOT NULL, message TEXT NOT NULL, result TEXT NOT NULL, starts INTEGER NOT NULL,
  created_at TEXT NOT NULL, started_at TEXT NOT NULL, ended_at TEXT NOT NULL,
  UNIQUE (client, idempotency_key)
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE TABLE job_events (
  job_id INTEGER NOT NULL REFERENCES jobs(id), seq INTEGER NOT NULL,
  kind TEXT NOT NULL, detail TEXT NOT NULL, trial_id INTEGER, best_us REAL, at TEXT NOT NULL,
  PRIMARY KEY (job_id, seq),
  UNIQUE (job_id, trial_id)
) STRICT, WITHOUT ROWID;
)sql",
    // What a job is for, which server runs it, and until when that is taken to be alive (seconds since 1970).
    // Submits count by the index.
    R"sql(
ALTER TABLE jobs ADD COLUMN device TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN holder TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN lease_until REAL NOT NULL DEFAULT 0;
CREATE INDEX jobs_by_client ON jobs (state, client);
)sql",
    // How many jobs of each client are queued, kept by whatever changes a job: counting them for each submit
    // takes longer the more there are.
    R"sql(
DROP INDEX jobs_by_client;
CREATE TABLE queued_jobs (client TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO queued_jobs SELECT client, count(*) FROM jobs WHERE state = 'queued' GROUP BY client;
CREATE TRIGGER job_added AFTER INSERT ON jobs WHEN new.state = 'queued' BEGIN
  INSERT INTO queued_jobs VALUES (new.client, 1) ON CONFLICT (client) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER job_queued AFTER UPDATE OF state ON jobs WHEN new.state = 'queued' AND old.state <> 'queued' BEGIN
  INSERT INTO queued_jobs VALUES (new.client, 1) ON CONFLICT (client) DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER job_taken AFTER UPDATE OF state ON jobs WHEN old.state = 'queued' AND new.state <> 'queued' BEGIN
  UPDATE queued_jobs SET count = count - 1 WHERE client = old.client;
  DELETE FROM queued_jobs WHERE client = old.client AND count = 0;
END;
CREATE TRIGGER job_deleted AFTER DELETE ON jobs WHEN old.state = 'queued' BEGIN
  UPDATE queued_jobs SET count = count - 1 WHERE client = old.client;
  DELETE FROM queued_jobs WHERE client = old.client AND count = 0;
END;
)sql",
};

Error not_ours(const std::filesystem::path& file, std::string_view why) {
  return fail("database {}: {}; nothing was written to it, name another file with --db", file.string(), why);
}

Error newer_schema(const std::filesystem::path& file, std::int64_t version) {
  return not_ours(file, fmt::format("has schema version {}, this attune knows up to {}: use a newer attune",
                                    version, kSchemaVersion));
}

std::uint32_t big_endian(const char* bytes) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

Result<bool> check_header(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (status.type() == std::filesystem::file_type::not_found) return false;
  if (!std::filesystem::is_regular_file(status)) return not_ours(file, "is not a regular file");
  std::ifstream in(file, std::ios::binary);
  if (!in)
    return fail("database {}: cannot be read; check its permissions, or name another file with --db",
                file.string());
  std::array<char, 100> header{};  // https://sqlite.org/fileformat.html, section 1.3
  in.read(header.data(), header.size());
  if (in.gcount() == 0) return false;
  constexpr std::string_view magic{"SQLite format 3\0", 16};
  if (in.gcount() < 100 || std::string_view(header.data(), magic.size()) != magic) {
    return not_ours(file, "is not a SQLite database");
  }
  if (big_endian(header.data() + 68) != kApplicationId)
    return not_ours(file, "belongs to another application");
  const std::uint32_t version = big_endian(header.data() + 60);
  if (version > kSchemaVersion) return newer_schema(file, version);
  return true;
}

namespace {

// All steps in one transaction: another process sees the old version or the new one.
Status migrate(Connection& connection) {
  auto transaction = Transaction::begin(connection);
  if (!transaction) return transaction.error();
  auto version = connection.integer("PRAGMA user_version");
  if (!version) return version.error();
  if (*version > kSchemaVersion) return newer_schema(connection.file(), *version);
  if (*version == kSchemaVersion) return {};
  for (std::int64_t step = *version; step < kSchemaVersion; ++step) {
    if (auto status = connection.execute(kSqliteMigrations[static_cast<std::size_t>(step)]); !status)
      return status;
  }
  auto status = connection.execute(
      fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};", kApplicationId, kSchemaVersion));
  if (!status) return status;
  return transaction->commit();
}

// Switching to WAL wants the file alone for a moment and does not wait by itself. Precondition: the header is
// written, so that the file is known as ours even while its newest pages are in the WAL.
Status use_wal(Connection& connection, int busy_timeout_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(busy_timeout_ms);
  for (;;) {
    auto status = connection.execute("PRAGMA journal_mode = WAL");
    if (status || !connection.is_busy() || std::chrono::steady_clock::now() >= deadline) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

Status check_pages(Connection& connection) {
  auto statement = connection.prepare("PRAGMA quick_check(1)");
  if (!statement) return statement.error();
  auto row = statement->step();
  if (!row) return row.error();
  const std::string found = statement->text(0);
  if (found == "ok") return {};
  return fail(
      "database {}: is damaged ({}); see what is wrong with attune cache verify, then move the file away or "
      "restore it",
      connection.file().string(), found.substr(0, found.find('\n')));
}

// WAL needs files beside the database, which a read-only folder does not allow. Where no one left any there,
// the database alone is all there is.
bool has_wal(std::filesystem::path file) {
  file += "-wal";
  std::error_code error;
  return std::filesystem::file_size(file, error) > 0 && !error;
}

}  // namespace

Result<std::unique_ptr<Connection>> open_read_only(const std::filesystem::path& file, int busy_timeout_ms) {
  auto exists = check_header(file);
  if (!exists) return exists.error();
  if (!*exists) return fail("database {}: does not exist; attune tune makes one", file.string());
  auto connection = Connection::open(file, Connection::Mode::read_only, busy_timeout_ms);
  if (!connection) return connection;
  auto version = (*connection)->integer("PRAGMA user_version");
  if (!version && (*connection)->cannot_open() && !has_wal(file)) {
    connection = Connection::open(file, Connection::Mode::immutable, busy_timeout_ms);
    if (!connection) return connection;
    version = (*connection)->integer("PRAGMA user_version");
  }
  if (!version) return version.error();
  if (*version > kSchemaVersion) return newer_schema(file, *version);
  if (*version < kOldestReadable) {
    return fail(
        "database {}: has schema version {} and is opened for reading only; open it once for writing (attune "
        "tune) "
        "to bring it to version {}",
        file.string(), *version, kSchemaVersion);
  }
  return connection;
}

Result<std::unique_ptr<Connection>> open_database(const std::filesystem::path& file,
                                                  const SqliteOptions& options) {
  if (options.read_only) return open_read_only(file, options.busy_timeout_ms);
  auto exists = check_header(file);
  if (!exists) return exists.error();
  std::error_code error;
  if (file.has_parent_path()) std::filesystem::create_directories(file.parent_path(), error);
  auto opened = Connection::open(file, Connection::Mode::create, options.busy_timeout_ms);
  if (!opened) return opened;
  Connection& connection = **opened;
  if (connection.is_read_only()) {
    return fail("database {}: is read-only; give yourself write permission or name another file with --db",
                file.string());
  }
  if (auto status = connection.execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"); !status) {
    return status.error();
  }
  if (*exists) {
    if (auto status = check_pages(connection); !status) return status.error();
  }
  if (auto status = migrate(connection); !status) return status.error();
  if (auto status = use_wal(connection, options.busy_timeout_ms); !status) return status.error();
  return opened;
}

}  // namespace attune
