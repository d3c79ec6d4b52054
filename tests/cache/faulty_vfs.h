// A disk that fails on demand: SQLite's default VFS with faults planted in what is written through it.
#pragma once

namespace attune {

// While it lives, databases opened from now on use the failing disk; at most one at a time. `plant` may
// change at any moment.
class FaultyDisk {
 public:
  FaultyDisk();
  FaultyDisk(const FaultyDisk&) = delete;
  FaultyDisk& operator=(const FaultyDisk&) = delete;
  ~FaultyDisk();

  // From the (after + 1)th write or sync on, each returns the code (SQLITE_FULL, SQLITE_IOERR_FSYNC ...); 0:
  // none.
  void plant(int code, int after = 0);
};

}  // namespace attune
