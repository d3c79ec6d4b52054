#include "compiler/nvml.h"

#include <dlfcn.h>

#include <array>
#include <utility>

namespace attune {

// The few entry points used; their types are NVML's (nvml.h is not part of every toolkit installation).
class Nvml::Library {
 public:
  using Handle = void*;

  ~Library() {
    if (initialised) shutdown();
    if (library != nullptr) dlclose(library);
  }

  template <class Function>
  bool find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    return function != nullptr;
  }

  void* library = nullptr;
  bool initialised = false;
  Handle device = nullptr;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*driver_version)(char*, unsigned) = nullptr;
  int (*handle_by_bus_id)(const char*, Handle*) = nullptr;
  int (*clock)(Handle, int, unsigned*) = nullptr;
  int (*max_clock)(Handle, int, unsigned*) = nullptr;
  int (*temperature)(Handle, int, unsigned*) = nullptr;
  int (*power_mw)(Handle, unsigned*) = nullptr;
  int (*throttle_reasons)(Handle, unsigned long long*) = nullptr;
};

namespace {

constexpr int kClockSm = 1;
constexpr int kClockMemory = 2;
constexpr int kTemperatureGpu = 0;

// nvmlClocksEventReasons that hold the clock down; idle (1) and application clocks (2) do not count.
constexpr std::pair<unsigned long long, const char*> kReasons[] = {
    {0x04, "power-cap"},  {0x08, "hw-slowdown"},    {0x10, "sync-boost"},     {0x20, "sw-thermal"},
    {0x40, "hw-thermal"}, {0x80, "hw-power-brake"}, {0x100, "display-clock"},
};

}  // namespace

Nvml::Nvml(std::unique_ptr<Library> library) : library_(std::move(library)) {}
Nvml::~Nvml() = default;
Nvml::Nvml(Nvml&&) noexcept = default;
Nvml& Nvml::operator=(Nvml&&) noexcept = default;

Result<Nvml> Nvml::open(const std::string& pci_bus_id) {
  auto nvml = std::make_unique<Library>();
  nvml->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (nvml->library == nullptr) return fail("no NVML, so no clocks: {}", dlerror());
  const bool complete = nvml->find(nvml->init, "nvmlInit_v2") && nvml->find(nvml->shutdown, "nvmlShutdown") &&
                        nvml->find(nvml->error_string, "nvmlErrorString") &&
                        nvml->find(nvml->driver_version, "nvmlSystemGetDriverVersion") &&
                        nvml->find(nvml->handle_by_bus_id, "nvmlDeviceGetHandleByPciBusId_v2") &&
                        nvml->find(nvml->clock, "nvmlDeviceGetClockInfo") &&
                        nvml->find(nvml->max_clock, "nvmlDeviceGetMaxClockInfo") &&
                        nvml->find(nvml->temperature, "nvmlDeviceGetTemperature") &&
                        nvml->find(nvml->power_mw, "nvmlDeviceGetPowerUsage") &&
                        nvml->find(nvml->throttle_reasons, "nvmlDeviceGetCurrentClocksThrottleReasons");
  if (!complete) return fail("libnvidia-ml.so.1 lacks functions of NVML 11; no clocks are recorded");
  if (const int code = nvml->init(); code != 0) {
    return fail("nvmlInit failed: {} ({}); no clocks are recorded", nvml->error_string(code), code);
  }
  nvml->initialised = true;
  if (const int code = nvml->handle_by_bus_id(pci_bus_id.c_str(), &nvml->device); code != 0) {
    return fail("NVML knows no GPU at {}: {} ({})", pci_bus_id, nvml->error_string(code), code);
  }
  return Nvml(std::move(nvml));
}

GpuState Nvml::sample() const {
  const auto number = [](auto function, auto... arguments) {
    unsigned value = 0;
    return function(arguments..., &value) == 0 ? static_cast<int>(value) : 0;
  };
  const auto& nvml = *library_;
  GpuState state;
  state.sm_clock_mhz = number(nvml.clock, nvml.device, kClockSm);
  state.max_sm_clock_mhz = number(nvml.max_clock, nvml.device, kClockSm);
  state.memory_clock_mhz = number(nvml.clock, nvml.device, kClockMemory);
  state.temperature_c = number(nvml.temperature, nvml.device, kTemperatureGpu);
  state.power_w = number(nvml.power_mw, nvml.device) / 1e3;
  unsigned long long reasons = 0;
  if (nvml.throttle_reasons(nvml.device, &reasons) != 0) return state;
  for (const auto& [bit, name] : kReasons) {
    if ((reasons & bit) == 0) continue;
    if (!state.throttle.empty()) state.throttle += '+';
    state.throttle += name;
  }
  return state;
}

std::string Nvml::kernel_driver() const {
  std::array<char, 96> text{};
  return library_->driver_version(text.data(), text.size()) == 0 ? text.data() : "";
}

}  // namespace attune
