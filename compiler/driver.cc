#include "compiler/driver.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <sstream>

#include "compiler/driver_api.h"
#include "compiler/nvml.h"

namespace attune {
namespace {

// "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build ..." -> "580.159.04".
std::string kernel_driver_version() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  std::istringstream words(line);
  std::string word;
  while (words >> word) {
    const bool is_version =
        word.find('.') != std::string::npos &&
        std::all_of(word.begin(), word.end(), [](char c) { return c == '.' || (c >= '0' && c <= '9'); });
    if (is_version) return word;
  }
  return "";
}

}  // namespace

bool is_sticky(int device_code) {
  // CUDA driver API, enum CUresult: those described as leaving the process in an inconsistent state.
  static constexpr std::array kSticky{CUDA_ERROR_DEINITIALIZED,
                                      CUDA_ERROR_ECC_UNCORRECTABLE,
                                      CUDA_ERROR_NVLINK_UNCORRECTABLE,
                                      CUDA_ERROR_ILLEGAL_ADDRESS,
                                      CUDA_ERROR_LAUNCH_TIMEOUT,
                                      CUDA_ERROR_CONTEXT_IS_DESTROYED,
                                      CUDA_ERROR_ASSERT,
                                      CUDA_ERROR_HARDWARE_STACK_ERROR,
                                      CUDA_ERROR_ILLEGAL_INSTRUCTION,
                                      CUDA_ERROR_MISALIGNED_ADDRESS,
                                      CUDA_ERROR_INVALID_ADDRESS_SPACE,
                                      CUDA_ERROR_INVALID_PC,
                                      CUDA_ERROR_LAUNCH_FAILED,
                                      CUDA_ERROR_TENSOR_MEMORY_LEAK,
                                      CUDA_ERROR_CONTAINED,
                                      CUDA_ERROR_EXTERNAL_DEVICE,
                                      CUDA_ERROR_UNKNOWN};
  return std::find(kSticky.begin(), kSticky.end(), static_cast<CUresult>(device_code)) != kSticky.end();
}

Result<const Driver*> Driver::open() {
  static std::mutex mutex;
  static const Driver* opened = nullptr;
  const std::lock_guard lock(mutex);
  if (opened != nullptr) return opened;

  const char* named = std::getenv("ATTUNE_CUDA_DRIVER");
  const std::string path = named != nullptr && *named != '\0' ? named : "libcuda.so.1";
  const auto table = driver_api::load(path.c_str());
  if (!table) return table.error();
  int version = 0;
  if (const CUresult code = table->cuDriverGetVersion(&version); code != CUDA_SUCCESS) {
    return driver_api::failure(*table, "cuDriverGetVersion(&version)", code, __FILE__, __LINE__);
  }
  driver_api::set_table(*table);
  static Driver driver;  // written once, here
  driver.path_ = path;
  driver.version_ = version;
  driver.kernel_driver_ = kernel_driver_version();
  opened = &driver;
  return opened;
}

Result<int> Driver::device_count() const {
  int count = 0;
  ATTUNE_CU(cuDeviceGetCount(&count));
  return count;
}

Result<std::string> Driver::pci_bus_id(int device) const {
  CUdevice handle = 0;
  ATTUNE_CU(cuDeviceGet(&handle, device));
  std::array<char, 32> text{};
  ATTUNE_CU(cuDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()), handle));
  return std::string(text.data());
}

Result<DeviceFacts> Driver::device_facts(int device) const {
  CUdevice handle = 0;
  ATTUNE_CU(cuDeviceGet(&handle, device));
  std::array<char, 256> name{};
  ATTUNE_CU(cuDeviceGetName(name.data(), static_cast<int>(name.size()), handle));
  std::size_t memory = 0;
  ATTUNE_CU(cuDeviceTotalMem(&memory, handle));

  DeviceFacts facts;
  int smem_per_block = 0;
  int smem_per_sm = 0;
  int l2 = 0;
  const std::pair<CUdevice_attribute, int*> attributes[] = {
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &facts.compute_major},
      {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &facts.compute_minor},
      {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &facts.sm_count},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &smem_per_block},
      {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, &smem_per_sm},
      {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, &facts.registers_per_sm},
      {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, &facts.threads_per_sm},
      {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, &l2}};
  for (const auto& [attribute, value] : attributes) ATTUNE_CU(cuDeviceGetAttribute(value, attribute, handle));

  facts.name = name.data();
  facts.arch = arch_for(facts.compute_major, facts.compute_minor);
  facts.smem_per_block_bytes = smem_per_block;
  facts.smem_per_sm_bytes = smem_per_sm;
  facts.l2_bytes = l2;
  facts.memory_bytes = static_cast<std::int64_t>(memory);
  facts.driver_version = version_;
  facts.driver = kernel_driver_;
  if (facts.driver.empty()) {  // no /proc entry in some containers
    const auto bus_id = pci_bus_id(device);
    if (!bus_id) return bus_id.error();
    if (const auto nvml = Nvml::open(*bus_id)) facts.driver = nvml->kernel_driver();
  }
  return facts;
}

Result<Context> Context::retain(const Driver&, int device) {
  CUdevice handle = 0;
  ATTUNE_CU(cuDeviceGet(&handle, device));
  Context context;
  ATTUNE_CU(cuDevicePrimaryCtxRetain(&context.handle_, handle));
  context.device_ = device;
  return context;
}

Context::~Context() {
  if (handle_ != nullptr) driver_api::table().cuDevicePrimaryCtxRelease(device_);
}

Status Context::make_current() const {
  ATTUNE_CU(cuCtxSetCurrent(handle_));
  return {};
}

Status Context::synchronize() const {
  ATTUNE_CU(cuCtxSynchronize());
  return {};
}

Context::Scope::Scope(const Context& context)
    : status_([&]() -> Status {
        ATTUNE_CU(cuCtxPushCurrent(context.handle_));
        return {};
      }()) {}

Context::Scope::~Scope() {
  CUcontext popped = nullptr;
  if (status_.ok()) driver_api::table().cuCtxPopCurrent(&popped);
}

Result<Stream> Stream::create(const Context&) {
  Stream stream;
  ATTUNE_CU(cuStreamCreate(&stream.handle_, CU_STREAM_NON_BLOCKING));
  stream.owned_ = true;
  return stream;
}

Stream Stream::borrow(CUstream_st* handle) {
  Stream stream;
  stream.handle_ = handle;
  return stream;
}

Stream::~Stream() {
  if (owned_) driver_api::table().cuStreamDestroy(handle_);
}

Status Stream::synchronize() const {
  ATTUNE_CU(cuStreamSynchronize(handle_));
  return {};
}

Result<bool> Stream::idle() const {
  const CUresult code = driver_api::table().cuStreamQuery(handle_);
  if (code == CUDA_SUCCESS) return true;
  if (code == CUDA_ERROR_NOT_READY) return false;
  return driver_api::failure(driver_api::table(), "cuStreamQuery(handle_)", code, __FILE__, __LINE__);
}

Result<bool> Stream::capturing() const {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  ATTUNE_CU(cuStreamIsCapturing(handle_, &status));
  return status != CU_STREAM_CAPTURE_STATUS_NONE;
}

Result<Event> Event::create(const Context&) {
  Event event;
  ATTUNE_CU(cuEventCreate(&event.handle_, CU_EVENT_DEFAULT));
  return event;
}

Event::~Event() {
  if (handle_ != nullptr) driver_api::table().cuEventDestroy(handle_);
}

Status Event::record(const Stream& stream) const {
  ATTUNE_CU(cuEventRecord(handle_, stream.handle()));
  return {};
}

Status Event::synchronize() const {
  ATTUNE_CU(cuEventSynchronize(handle_));
  return {};
}

Result<bool> Event::done() const {
  const CUresult code = driver_api::table().cuEventQuery(handle_);
  if (code == CUDA_SUCCESS) return true;
  if (code == CUDA_ERROR_NOT_READY) return false;
  return driver_api::failure(driver_api::table(), "cuEventQuery(handle_)", code, __FILE__, __LINE__);
}

Result<double> Event::elapsed_us(const Event& start, const Event& end) {
  float milliseconds = 0;
  ATTUNE_CU(cuEventElapsedTime(&milliseconds, start.handle_, end.handle_));
  return static_cast<double>(milliseconds) * 1e3;
}

}  // namespace attune
