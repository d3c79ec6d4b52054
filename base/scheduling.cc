#include "base/scheduling.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace attune {
namespace {

// The kernel's struct sched_attr, first version; see sched_setattr(2).
struct Attributes {
  std::uint32_t size = sizeof(Attributes);
  std::uint32_t policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime_ns = 0;  // of an ordinary policy: the time slice
  std::uint64_t deadline_ns = 0;
  std::uint64_t period_ns = 0;
};

}  // namespace

void request_time_slice(std::chrono::microseconds slice) {
  Attributes attributes;
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.policy != SCHED_OTHER && attributes.policy != SCHED_BATCH) return;
  attributes.runtime_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(slice).count());
  (void)syscall(SYS_sched_setattr, 0, &attributes, 0);  // not being allowed to costs nothing
}

}  // namespace attune
