// A GPU behind a worker process: an illegal address or a hang costs one trial, not the run.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "autotuner/device.h"
#include "autotuner/worker_protocol.h"
#include "base/result.h"
#include "compiler/compile_pool.h"
#include "templates/attention_template.h"

namespace attune {

struct GpuDeviceOptions {
  std::vector<std::string> worker_command;  // this program with "worker"; tests put a fake here
  std::chrono::milliseconds setup_timeout{120'000};
  std::chrono::milliseconds evaluate_timeout{20'000};
  std::chrono::milliseconds shoot_out_timeout{180'000};
  int max_worker_deaths = 50;  // a run: beyond it the GPU, not a candidate, is taken to be broken
};

// Facts of GPU `gpu`, or why there is none (no driver, no such device).
Result<DeviceFacts> gpu_facts(int gpu);

// Compiles the kernels that verification and timing need (through the pool and its store).
Result<SupportCubins> compile_support(const Shape& shape, const std::string& arch, CompilePool& compiler);

// The worker is started at the first use, and again after each death.
class GpuDevice final : public Device {
 public:
  GpuDevice(DeviceFacts facts, WorkerSetup setup, GpuDeviceOptions options);
  ~GpuDevice() override;

  const DeviceFacts& facts() const override { return facts_; }
  bool replays() const override { return false; }
  Result<Measurement> evaluate(const Candidate& candidate, std::optional<double> incumbent_us) override;
  Result<std::vector<Measurement>> shoot_out(const std::vector<Candidate>& candidates, int rounds) override;

 private:
  class Connection;
  const DeviceFacts facts_;
  const GpuDeviceOptions options_;
  const std::unique_ptr<Connection> connection_;
};

}  // namespace attune
