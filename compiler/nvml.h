// Clocks and throttling of a GPU, through NVML opened at run time (libnvidia-ml.so.1). Optional: a machine
// without it measures all the same and stores no clocks.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace attune {

struct GpuState {
  int sm_clock_mhz = 0;
  int max_sm_clock_mhz = 0;
  int memory_clock_mhz = 0;
  int temperature_c = 0;
  double power_w = 0;
  // Why the clock is held down, joined by '+': "power-cap", "hw-slowdown", "thermal" ...; "" when nothing
  // does (idle and application clocks count as nothing).
  std::string throttle;
};

class Nvml {
 public:
  // For the GPU with this PCI bus id (Driver::pci_bus_id).
  static Result<Nvml> open(const std::string& pci_bus_id);
  ~Nvml();
  Nvml(Nvml&&) noexcept;
  Nvml& operator=(Nvml&&) noexcept;

  // About 0.1 ms or less. A quantity that the GPU does not report is 0.
  GpuState sample() const;
  std::string kernel_driver() const;  // "580.159.04", "" if unknown

 private:
  class Library;
  explicit Nvml(std::unique_ptr<Library> library);
  std::unique_ptr<Library> library_;
};

}  // namespace attune
