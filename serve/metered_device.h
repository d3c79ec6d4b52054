#pragma once

#include <chrono>
#include <memory>

#include "autotuner/device.h"
#include "serve/metrics.h"

namespace attune::serve {

// Another device, with the time counted in which it works.
class MeteredDevice final : public Device {
 public:
  MeteredDevice(Device& device, WorkerMetrics& metrics) : device_(device), metrics_(metrics) {}
  MeteredDevice(std::unique_ptr<Device> owned, WorkerMetrics& metrics)
      : owned_(std::move(owned)), device_(*owned_), metrics_(metrics) {}

  const DeviceFacts& facts() const override { return device_.facts(); }
  bool replays() const override { return device_.replays(); }

  Result<Measurement> evaluate(const Candidate& candidate, std::optional<double> incumbent_us) override {
    const Timer timer(metrics_);
    return device_.evaluate(candidate, incumbent_us);
  }
  Result<std::vector<Measurement>> shoot_out(const std::vector<Candidate>& candidates, int rounds) override {
    const Timer timer(metrics_);
    return device_.shoot_out(candidates, rounds);
  }

 private:
  class Timer {
   public:
    explicit Timer(WorkerMetrics& metrics) : metrics_(metrics) {}
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;
    ~Timer() { metrics_.busy_ns += (std::chrono::steady_clock::now() - begin_).count(); }

   private:
    WorkerMetrics& metrics_;
    const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  };

  const std::unique_ptr<Device> owned_;
  Device& device_;
  WorkerMetrics& metrics_;
};

}  // namespace attune::serve
