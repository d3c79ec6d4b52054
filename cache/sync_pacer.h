// Private to cache/.
#pragma once

#include <chrono>

#include "base/result.h"
#include "cache/sqlite.h"

namespace attune {

// A commit is in the WAL, safe from a killed process, when it returns. Against a power cut it must also reach
// the disk, milliseconds each: in a burst (a replay, many jobs at once) only one commit in kEvery pays that,
// for all before it. Its owner locks.
class SyncPacer {
 public:
  static constexpr std::chrono::milliseconds kEvery{20};

  // Before a transaction.
  Status choose(Connection& connection) {
    const auto now = std::chrono::steady_clock::now();
    const bool sync = now - last_ >= kEvery;
    if (sync != syncs_) {
      auto status = connection.execute(sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
      if (!status) return status;
      syncs_ = sync;
    }
    if (sync) last_ = now;
    return {};
  }

 private:
  std::chrono::steady_clock::time_point last_{};
  bool syncs_ = true;  // PRAGMA synchronous is FULL, else NORMAL
};

}  // namespace attune
