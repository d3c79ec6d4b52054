// Times launches on a GPU: cold L2, launch latency hidden, medians with their spread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "cache/trial.h"
#include "compiler/driver.h"

namespace attune {

// When enough samples were taken. The medians' standard error shrinks with sqrt(n); a steady kernel stops
// early, a noisy one at the cap.
class StoppingRule {
 public:
  static constexpr int kMinSamples = 9;
  static constexpr int kMaxSamples = 45;
  static constexpr double kMaxTotalUs = 60'000;
  static constexpr double kRelativeError = 0.003;

  static bool enough(const std::vector<double>& samples_us);
};

// Median, minimum, interquartile range. Precondition: not empty.
Timing summarize(std::vector<double> samples_us);

// A range of device memory that a kernel reads or writes.
struct MemoryRange {
  std::uint64_t address = 0;
  std::int64_t bytes = 0;
};

// One a process and GPU; not thread safe.
class Sampler {
 public:
  // `support` is the loaded cubin of support_kernels.cuh; it and the context must outlive the sampler.
  static Result<Sampler> create(const Context& context, const DeviceFacts& facts, const Module& support,
                                MeasurementPolicy policy);

  // Enqueues `count` samples, each: flush L2, event, launch, event; then waits for them. The flush (tens of
  // microseconds) runs while the host enqueues what follows it, so no launch latency is inside a sample.
  // `tensors`: what the kernel touches (at most four), for the flush.
  Result<std::vector<double>> sample(const Stream& stream, std::span<const MemoryRange> tensors, int count,
                                     const std::function<Status()>& launch);

  // Keeps the GPU busy until its clock has left idle, about `milliseconds`.
  Status warm_up(const Stream& stream, int milliseconds);

 private:
  Sampler(const Context& context, DeviceBuffer scratch, Kernel flush, MeasurementPolicy policy, int sm_count)
      : context_(&context),
        scratch_(std::move(scratch)),
        flush_(flush),
        policy_(policy),
        sm_count_(sm_count) {}
  Status flush(const Stream& stream, std::span<const MemoryRange> tensors);

  const Context* context_;
  DeviceBuffer scratch_;
  Kernel flush_;
  MeasurementPolicy policy_;
  int sm_count_;
  std::vector<std::pair<Event, Event>> events_;
};

}  // namespace attune
