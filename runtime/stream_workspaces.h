// The workspaces of one kernel: one a stream, so that launches on several streams never share one.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "compiler/driver.h"

namespace attune {

// Zeroed when allocated; kernels leave them zeroed. Memory is taken for several streams at once and kept.
class StreamWorkspaces {
 public:
  // `context` and `setup` (a stream to zero memory on) outlive it.
  StreamWorkspaces(const Context& context, const Stream& setup, std::int64_t bytes)
      : context_(context), setup_(setup), bytes_(bytes) {}
  ~StreamWorkspaces();

  std::int64_t bytes() const { return bytes_; }

  // The stream's workspace, taking a free one at its first call: lock-free. Nothing (0) when none is free.
  // A kernel without a workspace must not ask.
  std::uint64_t find(CUstream_st* stream) const;

  // Allocates more. The context is current; not for use within a capture.
  Status extend();

 private:
  static constexpr int kSlots = 16;
  static constexpr std::uintptr_t kFree = ~std::uintptr_t{0};

  struct Block {
    DeviceBuffer memory;
    int slots = 0;  // used entries of `owners`
    mutable std::array<std::atomic<std::uintptr_t>, kSlots> owners;
    std::unique_ptr<Block> next;
  };

  const Context& context_;
  const Stream& setup_;
  const std::int64_t bytes_;
  std::mutex extending_;
  std::unique_ptr<Block> newest_;
  std::atomic<const Block*> first_ = nullptr;
};

}  // namespace attune
