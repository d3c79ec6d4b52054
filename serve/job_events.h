#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "cache/job_store.h"
#include "serve/event_hub.h"
#include "serve/http.h"

namespace attune::serve {

// A job for clients. `whole`: with its request and result, else only what a list shows.
nlohmann::json job_json(const Job& job, bool whole);

// A trial of a job: seq, best_us, and the trial as docs/trial-store.md has it, its device as its name alone.
nlohmann::json job_trial_json(const JobEvent& event);

// A job's events as a stream of Server-Sent Events, from the one after `seq` on, until the job has ended. The
// id of an event is its seq, so that a client that was cut off goes on with Last-Event-ID. `jobs` and `hub`
// must outlive it.
std::shared_ptr<Stream> job_event_stream(JobStore& jobs, EventHub& hub, std::int64_t job, std::int64_t seq);

}  // namespace attune::serve
