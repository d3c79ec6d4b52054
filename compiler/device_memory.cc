#include "compiler/driver.h"
#include "compiler/driver_api.h"

namespace attune {
namespace {

Status within(std::int64_t offset, std::size_t bytes, std::int64_t capacity) {
  if (offset < 0 || offset > capacity || static_cast<std::int64_t>(bytes) > capacity - offset) {
    return fail("{} bytes at offset {} are beyond the device buffer's {} bytes", bytes, offset, capacity);
  }
  return {};
}

}  // namespace

Result<DeviceBuffer> DeviceBuffer::allocate(const Context&, std::int64_t bytes) {
  if (bytes < 0) return fail("cannot allocate {} bytes of device memory", bytes);
  DeviceBuffer buffer;
  if (bytes == 0) return buffer;
  CUdeviceptr address = 0;
  const CUresult code = driver_api::table().cuMemAlloc(&address, static_cast<std::size_t>(bytes));
  if (code != CUDA_SUCCESS) {
    const std::string call = fmt::format("cuMemAlloc of {} bytes", bytes);
    return driver_api::failure(driver_api::table(), call.c_str(), code, __FILE__, __LINE__);
  }
  buffer.address_ = address;
  buffer.bytes_ = bytes;
  return buffer;
}

DeviceBuffer::~DeviceBuffer() {
  if (address_ != 0) driver_api::table().cuMemFree(address_);
}

Status DeviceBuffer::upload(std::span<const std::byte> from, const Stream& stream,
                            std::int64_t offset) const {
  if (auto status = within(offset, from.size(), bytes_); !status) return status;
  if (from.empty()) return {};
  ATTUNE_CU(cuMemcpyHtoDAsync(address_ + static_cast<std::uint64_t>(offset), from.data(), from.size(),
                              stream.handle()));
  return {};
}

Status DeviceBuffer::download(std::span<std::byte> to, const Stream& stream, std::int64_t offset) const {
  if (auto status = within(offset, to.size(), bytes_); !status) return status;
  if (to.empty()) return {};
  ATTUNE_CU(cuMemcpyDtoHAsync(to.data(), address_ + static_cast<std::uint64_t>(offset), to.size(),
                              stream.handle()));
  return {};
}

Status DeviceBuffer::copy_from(const DeviceBuffer& other, const Stream& stream) const {
  const auto size = static_cast<std::size_t>(other.bytes_);
  if (auto status = within(0, size, bytes_); !status) return status;
  if (size == 0) return {};
  ATTUNE_CU(cuMemcpyDtoDAsync(address_, other.address_, size, stream.handle()));
  return {};
}

Status DeviceBuffer::fill(std::uint8_t value, const Stream& stream) const {
  if (bytes_ == 0) return {};
  ATTUNE_CU(cuMemsetD8Async(address_, value, static_cast<std::size_t>(bytes_), stream.handle()));
  return {};
}

Status DeviceBuffer::fill_range(std::uint8_t value, std::int64_t offset, std::int64_t bytes,
                                const Stream& stream) const {
  if (auto status = within(offset, static_cast<std::size_t>(bytes), bytes_); !status) return status;
  if (bytes == 0) return {};
  ATTUNE_CU(cuMemsetD8Async(address_ + static_cast<std::uint64_t>(offset), value,
                            static_cast<std::size_t>(bytes), stream.handle()));
  return {};
}

Status DeviceBuffer::fill_words(std::uint32_t value, const Stream& stream) const {
  if (bytes_ % 4 != 0) return fail("a buffer of {} bytes cannot be filled with 4-byte words", bytes_);
  if (bytes_ == 0) return {};
  ATTUNE_CU(cuMemsetD32Async(address_, value, static_cast<std::size_t>(bytes_) / 4, stream.handle()));
  return {};
}

Result<PinnedBuffer> PinnedBuffer::allocate(const Context&, std::int64_t bytes) {
  if (bytes < 0) return fail("cannot allocate {} bytes of page-locked memory", bytes);
  PinnedBuffer buffer;
  if (bytes == 0) return buffer;
  void* address = nullptr;
  const auto size = static_cast<std::size_t>(bytes);
  ATTUNE_CU(cuMemAllocHost(&address, size));
  buffer.bytes_ = {static_cast<std::byte*>(address), size};
  return buffer;
}

PinnedBuffer::~PinnedBuffer() {
  if (!bytes_.empty()) driver_api::table().cuMemFreeHost(bytes_.data());
}

}  // namespace attune
