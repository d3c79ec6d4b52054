#include "autotuner/open_device.h"

#include "autotuner/gpu_device.h"
#include "autotuner/recorded_device.h"
#include "base/own_path.h"

namespace attune {
namespace {

Result<std::unique_ptr<Device>> open_gpu(const Target& target, const MeasurementPolicy& policy,
                                         CompilePool& compiler) {
  const auto program = own_path();
  if (!program) return program.error();
  auto cubins = compile_support(target.shape, target.device.facts.arch, compiler);
  if (!cubins) return cubins.error();
  WorkerSetup setup{.gpu = *target.device.gpu,
                    .shape = target.shape,
                    .template_name = std::string(target.tmpl->name()),
                    .policy = policy,
                    .cubins = std::move(*cubins)};
  GpuDeviceOptions options;
  options.worker_command = {*program, "worker"};
  return std::unique_ptr<Device>(
      std::make_unique<GpuDevice>(target.device.facts, std::move(setup), std::move(options)));
}

}  // namespace

Result<std::unique_ptr<Device>> open_device(const Target& target, const MeasurementPolicy& policy,
                                            CompilePool& compiler) {
  if (target.device.gpu) return open_gpu(target, policy, compiler);
  if (target.device.recording) {
    return std::unique_ptr<Device>(std::make_unique<RecordedDevice>(*target.device.recording));
  }
  return fail("{} is an arch, not a device: nothing can be measured on it", target.device.facts.arch);
}

}  // namespace attune
