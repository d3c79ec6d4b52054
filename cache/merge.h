// Databases of several machines or job arrays made one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "cache/trial_store.h"

namespace attune {

struct MergeSummary {
  std::int64_t read = 0;
  std::int64_t added = 0;   // the rest was there already (content_hash())
  std::int64_t wanted = 0;  // entries of the wanted list that were looked at
};

// Adds the raw trials of `from` that `to` lacks, final rounds included, and takes over its wanted counts.
// Records are never copied: they are derived anew from all trials together. Copying twice is copying once, be
// it there and back. What was added before an error stays, so the same copy may be run again. `progress` is
// told after each thousand trials; it may be empty.
Result<MergeSummary> copy_store(const TrialStore& from, TrialStore& to,
                                const std::function<void(const MergeSummary&)>& progress = {});

// copy_store() from a location: a database, file or server (opened for reading only), or an export
// (transfer.h). An error names it. A database is not merged into itself.
Result<MergeSummary> merge_from(TrialStore& to, const std::string& to_location, const std::string& from);

}  // namespace attune
