// Shapes that could not be prepared and why: a program that asks at every step pays for the attempt once.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "runtime/reply.h"
#include "runtime/shape_table.h"

namespace attune {

// What time cannot mend (ATTUNE_NOT_SUPPORTED) is remembered for good; other failures for kRetryAfter, or,
// where that is longer, kRestFactor times as long as the attempt took: attempts take a tenth of the time at
// most. ATTUNE_OUT_OF_MEMORY is not remembered: an attempt is quick once the kernel is compiled, and the
// caller may have freed memory since. Thread safe.
class FailedShapes {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  static constexpr std::chrono::seconds kRetryAfter{30};
  static constexpr int kRestFactor = 10;
  static constexpr std::size_t kMost = 4096;  // one more, and all are forgotten

  explicit FailedShapes(Clock now) : now_(std::move(now)) {}

  std::chrono::steady_clock::time_point now() const { return now_(); }

  // The failure that answers for the shape. Nothing: it may be tried.
  std::optional<Reply> find(const Shape& shape) const;

  // Whether an attempt has failed, however long ago.
  bool knows(const Shape& shape) const;

  // An attempt that began at `began` has failed just now.
  void remember(const Shape& shape, const Reply& failure, std::chrono::steady_clock::time_point began);

 private:
  struct Failure {
    Reply reply;
    std::chrono::steady_clock::time_point again_at;
  };
  struct Hash {
    std::size_t operator()(const Shape& shape) const { return hash_of(shape); }
  };

  const Clock now_;
  mutable std::mutex mutex_;
  std::unordered_map<Shape, Failure, Hash> failures_;
};

}  // namespace attune
