// Trials as rows: the columns, in the order they are written and read, and filters as SQL. Private to cache/.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "cache/sqlite.h"
#include "cache/trial_store.h"

namespace attune {

// The conditions of a query and the values of their parameters. The tables are t (trials) and d (devices).
struct Where {
  std::string sql = "1";
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

// Adds the trial with its shape and device, as part of the caller's transaction; returns its id.
// Precondition: check_trial().
Result<std::int64_t> insert_trial(Connection& connection, const Trial& trial,
                                  const std::string& content_hash);

// Reads rows of kSelectTrials. Remembers shapes and devices by id, which are never changed.
class TrialReader {
 public:
  Result<Trial> read(const Statement& row);

 private:
  std::map<std::int64_t, Shape> shapes_;
  std::map<std::int64_t, DeviceFacts> devices_;
};

}  // namespace attune
