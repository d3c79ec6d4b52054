// Trials as rows: the columns, in the order they are written and read, and filters as SQL. Private to cache/.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/sql_database.h"
#include "cache/trial_store.h"

namespace attune {

// The conditions of a query and the values of their parameters. The tables are t (trials) and d (devices).
struct Where {
  std::string sql = "TRUE";
  std::vector<SqlValue> values;

  void also(const std::string& condition, SqlValue value);
};
Where where(const TrialFilter& filter);

// "SELECT <all columns> FROM trials t JOIN devices d ... WHERE "
extern const std::string kSelectTrials;
constexpr int kContentHashColumn = 34;  // of kSelectTrials, the last

// A further condition: no newer trial of the same config on the same kind of device. "Newer" is by time of
// the measurement, then by row, so that importing old trials does not overrule what was measured since. The
// driver and NVRTC are not part of "the same": a measurement after an upgrade replaces the one before.
extern const std::string kNothingNewer;

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();  // as a LIMIT

// Adds trials with their shapes and devices as part of one transaction, of which it remembers what it has
// found. Precondition of both: check_trial().
class TrialWriter {
 public:
  explicit TrialWriter(SqlDatabase& database) : database_(database) {}

  Result<std::int64_t> add(const Trial& trial, const std::string& content_hash);  // returns its id

  // Unless a trial of this content hash is there; true: it was added.
  Result<bool> add_new(const Trial& trial, const std::string& content_hash);

 private:
  Result<std::vector<SqlValue>> row_of(const Trial& trial, const std::string& content_hash);
  Result<std::int64_t> id_of(const std::string& table, const std::string& columns,
                             const std::vector<SqlValue>& values);

  SqlDatabase& database_;
  std::map<std::string, std::int64_t> ids_;  // by table and JSON
};

// Reads rows of kSelectTrials. Remembers shapes and devices by id, which are never changed.
class TrialReader {
 public:
  Result<Trial> read(const SqlRow& row);

 private:
  std::map<std::int64_t, Shape> shapes_;
  std::map<std::int64_t, DeviceFacts> devices_;
};

}  // namespace attune
