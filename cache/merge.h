// Databases of several machines or job arrays made one.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/result.h"
#include "cache/trial_store.h"

namespace attune {

struct MergeSummary {
  std::int64_t read = 0;
  std::int64_t added = 0;   // the rest was there already (content_hash())
  std::int64_t wanted = 0;  // entries of the wanted list that were looked at
};

// Adds the raw trials of `from` that `to` lacks, final rounds included, and takes over its wanted counts.
// Records are never copied: they are derived anew from all trials together. Merging twice is merging once.
// `from` is a database (opened for reading only) or an export (transfer.h). An error names the file; what was
// added before it stays, so the same merge may be run again. A database is not merged into itself.
Result<MergeSummary> merge_file(TrialStore& to, const std::filesystem::path& to_file,
                                const std::filesystem::path& from);

}  // namespace attune
