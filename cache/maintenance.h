// What `attune cache verify` and `attune cache gc` do with a database file. By file rather than by store:
// what verify looks at may be too damaged to be opened as one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"

namespace attune {

struct VerifyReport {
  std::int64_t trials = 0;
  std::int64_t shapes = 0;
  std::int64_t devices = 0;
  std::vector<std::string> problems;  // one line each, at most 100; empty: all is well

  bool ok() const { return problems.empty(); }
};

// Reads everything and writes nothing: pages and indexes (integrity_check), references between the tables,
// and that every trial is readable and is what was once added (its content hash). An error only if there is
// nothing to look at: no file, not ours, of another schema, locked.
Result<VerifyReport> verify_database(const std::filesystem::path& file);

struct GarbageOptions {
  // Template name -> the hashes that still count. Trials of a template named here with any other hash are
  // deleted; templates not named, and so by default everything, are kept: measurements are history worth
  // having.
  std::map<std::string, std::set<std::string>> current_templates{};
  bool dry_run = false;  // only count
};

struct GarbageReport {
  std::int64_t trials = 0;   // deleted, or would be
  std::int64_t shapes = 0;   // of no trial any more
  std::int64_t devices = 0;  // the same
  std::int64_t freed_bytes = 0;
};

// All or nothing. The file shrinks unless another process is using it just then.
Result<GarbageReport> collect_garbage(const std::filesystem::path& file, const GarbageOptions& options);

}  // namespace attune
