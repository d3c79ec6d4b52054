// Runs one job with the tuner's own tune and sweep, and tells what happens on the way.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "autotuner/sweep_arms.h"
#include "autotuner/target.h"
#include "autotuner/tune.h"
#include "base/result.h"
#include "cache/job_store.h"
#include "cache/pack.h"
#include "cache/trial_store.h"
#include "compiler/compile_pool.h"
#include "serve/job_request.h"
#include "serve/metrics.h"

namespace attune::serve {

// Whether this server can run the request: template, axes and configs exist and are legal for the shape on
// the device, and there is something to measure it on. The error says what there is instead. Reads no
// recording.
// `asks_models`: the server has an endpoint.
Status check_job(const JobRequest& request, const SweepTarget& devices, bool asks_models);

// Opens the questions of a tune within what the request and the server allow, as open_chat(); empty: the
// server asks no model.
using ChatOpener = std::function<Result<std::shared_ptr<ChatSession>>(
    const JobRequest& request, const Target& target, TuneOptions& options)>;

// What a worker works with. All must outlive the run.
struct JobTools {
  TrialStore& store;
  CompilePool& compiler;  // this worker's own
  const Packs& packs;
  const SweepTarget& devices;
  int worker = 0;  // of devices.gpus, where there are some
  WorkerMetrics& metrics;
  const ChatOpener& open_chat;
  Metrics& totals;
};

struct TrialNews {
  const Trial& trial;
  std::optional<double> best_us;  // of its shape, so far
  bool fresh = true;              // measured by this run; else it was stored before and is part of the answer
};
// Told of each trial of the job once, on the run's thread. An error ends the run.
using TrialListener = std::function<Status(const TrialNews& news)>;

struct JobEnd {
  JobState state = JobState::failed;  // done or failed
  std::string message;
  nlohmann::json result;
  bool interrupted = false;  // by `stop`: state is of no use
};

// On the caller's thread. `stop` ends it soon; what was measured is stored, and the same request goes on
// there.
JobEnd run_job(const JobRequest& request, const JobTools& tools, const std::atomic<bool>& stop,
               const TrialListener& on_trial);

}  // namespace attune::serve
