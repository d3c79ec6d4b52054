// What the page shows, as JSON: trials in columns, records, defaults. `attune report` puts it into the file,
// `attune serve` answers with it. docs/dashboard.md describes the form.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"
#include "cache/trial_store.h"

namespace attune {

// The trials that match, in the order of their ids, with the records among all trials that match but for
// `after_id`: a page that has seen the trials up to an id asks for those after it alone, and takes the
// records anew. Columns of words hold a list of distinct values and, for each trial, an index into it, which
// only counts within this answer. The filter's outcome and limit are of no use here. Reads the store several
// times: a trial that is added meanwhile may be a record and not yet among the trials.
Result<nlohmann::json> dashboard_data(const TrialStore& store, const TrialFilter& filter);

}  // namespace attune
