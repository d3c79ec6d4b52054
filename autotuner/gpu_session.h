// One shape on one GPU, in the process that owns the GPU (the worker): verify and time candidates.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "autotuner/device.h"
#include "autotuner/worker_protocol.h"
#include "base/result.h"

namespace attune {

// Not thread safe.
class GpuSession {
 public:
  virtual ~GpuSession() = default;

  // Takes the GPU's lock (waits for another tuner to be done with it), makes inputs and references, warms up.
  static Result<std::unique_ptr<GpuSession>> open(const WorkerSetup& setup);

  virtual const SpaceDefinition& space() const = 0;

  // As in Device. Every failure of the candidate is an outcome.
  virtual Measurement evaluate(const Candidate& candidate, std::optional<double> incumbent_us) = 0;
  virtual std::vector<Measurement> shoot_out(const std::vector<Candidate>& candidates, int rounds) = 0;

  // After a sticky fault: the process must end.
  virtual bool lost() const = 0;
};

}  // namespace attune
