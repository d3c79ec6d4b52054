#include "runtime/stream_workspaces.h"

#include <algorithm>

namespace attune {
namespace {

constexpr std::int64_t kAlignment = 256;
constexpr std::int64_t kBlockBytes = 1 << 20;  // a block is not much more than this, but for large workspaces
// A capture cannot take more: the default stream, one to warm up on, one to capture on, and one to spare.
constexpr std::int64_t kFewest = 4;

// CU_STREAM_LEGACY is the default stream by another name; CU_STREAM_PER_THREAD is a stream of each thread.
std::uintptr_t identity(CUstream_st* stream) {
  constexpr std::uintptr_t kLegacy = 1;
  constexpr std::uintptr_t kPerThread = 2;
  static thread_local char this_thread;
  const auto handle = reinterpret_cast<std::uintptr_t>(stream);
  if (handle == kPerThread) return reinterpret_cast<std::uintptr_t>(&this_thread);
  return handle == kLegacy ? 0 : handle;
}

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

StreamWorkspaces::~StreamWorkspaces() {
  while (newest_) newest_ = std::move(newest_->next);  // not by recursion
}

std::uint64_t StreamWorkspaces::find(CUstream_st* stream) const {
  const std::uintptr_t wanted = identity(stream);
  const auto address = [this](const Block& block, int i) {
    return block.memory.address() + static_cast<std::uint64_t>(i * aligned(bytes_));
  };
  const Block* const first = first_.load(std::memory_order_acquire);
  for (const Block* block = first; block != nullptr; block = block->next.get()) {
    for (int i = 0; i < block->slots; ++i) {
      if (block->owners[i].load(std::memory_order_acquire) == wanted) return address(*block, i);
    }
  }
  // A stream is used by one thread at a time (CUDA orders its work), so nobody else claims for it meanwhile;
  // if two threads do, both workspaces are the stream's, and its order keeps them apart.
  for (const Block* block = first; block != nullptr; block = block->next.get()) {
    for (int i = 0; i < block->slots; ++i) {
      std::uintptr_t expected = kFree;
      if (block->owners[i].compare_exchange_strong(expected, wanted, std::memory_order_acq_rel)) {
        return address(*block, i);
      }
    }
  }
  return 0;
}

Status StreamWorkspaces::extend() {
  const std::lock_guard lock(extending_);
  auto block = std::make_unique<Block>();
  block->slots = static_cast<int>(std::clamp<std::int64_t>(kBlockBytes / aligned(bytes_), kFewest, kSlots));
  for (auto& owner : block->owners) owner.store(kFree, std::memory_order_relaxed);
  auto memory = DeviceBuffer::allocate(context_, block->slots * aligned(bytes_));
  if (!memory) return memory.error();
  if (auto status = memory->fill(0, setup_); !status) return status;
  if (auto status = setup_.synchronize(); !status) return status;
  block->memory = std::move(*memory);
  block->next = std::move(newest_);
  newest_ = std::move(block);
  first_.store(newest_.get(), std::memory_order_release);
  return {};
}

}  // namespace attune
