// The database's format: what marks a file as ours, its tables, and the steps from one version to the next.
// docs/trial-store.md describes the latest version. Private to cache/.
#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "cache/sqlite.h"
#include "cache/trial_store.h"

namespace attune {

constexpr std::int64_t kApplicationId = 0x4174756e;  // "Atun", in the SQLite header at offset 68
constexpr std::int64_t kSchemaVersion = 7;           // PRAGMA user_version
constexpr std::int64_t kOldestReadable = 3;          // trials are as in the latest version from here on

// Reads the header as a plain file: SQLite itself may write to what it opens (recovery, checkpoints). True:
// there is a database of ours. False: there is no file yet, or an empty one.
Result<bool> check_header(const std::filesystem::path& file);

// Opens the file as SqliteOptions say: refuses what is not ours, newer or damaged without writing a byte to
// it, creates what is missing, migrates what is older.
Result<std::unique_ptr<Connection>> open_database(const std::filesystem::path& file,
                                                  const SqliteOptions& options);

// The read-only half of it: the pages are not checked, and a folder that cannot be written is fine. Versions
// from kOldestReadable on are read as they are (what later ones added is then absent).
Result<std::unique_ptr<Connection>> open_read_only(const std::filesystem::path& file, int busy_timeout_ms);

}  // namespace attune
