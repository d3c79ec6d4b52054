#include <algorithm>
#include <array>
#include <utility>

#include "base/printable.h"
#include "cache/job_store.h"

namespace attune {
namespace {

constexpr std::array<std::pair<JobState, std::string_view>, 6> kStates{{{JobState::queued, "queued"},
                                                                        {JobState::running, "running"},
                                                                        {JobState::cancelling, "cancelling"},
                                                                        {JobState::done, "done"},
                                                                        {JobState::failed, "failed"},
                                                                        {JobState::cancelled, "cancelled"}}};

}  // namespace

std::string_view to_string(JobState state) {
  return std::find_if(kStates.begin(), kStates.end(), [&](const auto& row) { return row.first == state; })
      ->second;
}

Result<JobState> parse_job_state(std::string_view text) {
  for (const auto& [state, name] : kStates) {
    if (name == text) return state;
  }
  return fail("'{}' is no state of a job: queued, running, cancelling, done, failed or cancelled",
              printable(text));
}

bool has_ended(JobState state) {
  return state == JobState::done || state == JobState::failed || state == JobState::cancelled;
}

}  // namespace attune
