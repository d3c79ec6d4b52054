// Trials as files: JSON Lines, one trial a line between a line that names the format and one that ends it
// (docs/trial-store.md). Every trial travels, not only winners, so that records can be derived anew
// elsewhere.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "base/result.h"
#include "cache/trial_store.h"

namespace attune {

// Writes the trials that match, in the order they were added, without holding them all in memory. Returns how
// many. `name` is the destination in error texts.
Result<std::int64_t> export_trials(const TrialStore& store, const TrialFilter& filter, std::ostream& out,
                                   const std::string& name);

struct ImportSummary {
  std::int64_t read = 0;
  std::int64_t added = 0;  // the rest was there already (content_hash())
};

// Reads an export to its end and adds nothing: how many trials it has, or what import_trials() would find
// wrong.
Result<std::int64_t> check_export(std::istream& in, const std::string& name);

// Adds the file's trials that are not there yet: importing twice is importing once. A file of another format
// or version, cut short, or with a line that is not a trial is an error that names the line, and nothing is
// added.
Result<ImportSummary> import_trials(TrialStore& store, std::istream& in, const std::string& name);

}  // namespace attune
