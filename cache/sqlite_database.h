// Stores in a file. Private to cache/: users call open_store() and open_jobs().
#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "cache/job_store.h"

namespace attune {

// The file must be a trial store of today's schema.
Result<std::unique_ptr<JobStore>> open_sqlite_jobs(const std::filesystem::path& file,
                                                   const JobStoreOptions& options);

}  // namespace attune
