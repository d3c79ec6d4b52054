#include "runtime/failed_shapes.h"

#include <algorithm>

namespace attune {

std::optional<Reply> FailedShapes::find(const Shape& shape) const {
  const std::lock_guard lock(mutex_);
  const auto found = failures_.find(shape);
  if (found == failures_.end() || now_() >= found->second.again_at) return std::nullopt;
  return found->second.reply;
}

bool FailedShapes::knows(const Shape& shape) const {
  const std::lock_guard lock(mutex_);
  return failures_.contains(shape);
}

void FailedShapes::remember(const Shape& shape, const Reply& failure,
                            std::chrono::steady_clock::time_point began) {
  using TimePoint = std::chrono::steady_clock::time_point;
  if (failure.code == ATTUNE_OUT_OF_MEMORY) return;
  const TimePoint ended = now_();
  const TimePoint again_at =
      failure.code == ATTUNE_NOT_SUPPORTED
          ? TimePoint::max()
          : ended + std::max<TimePoint::duration>(kRetryAfter, kRestFactor * (ended - began));
  const std::lock_guard lock(mutex_);
  if (failures_.size() >= kMost && !failures_.contains(shape)) failures_.clear();
  failures_[shape] = {failure, again_at};
}

}  // namespace attune
