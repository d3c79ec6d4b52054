#include "runtime/fork_watch.h"

#include <pthread.h>

#include <atomic>

namespace attune {
namespace {

std::atomic<unsigned> generation = 0;

// Taken back by the C library when this one is unloaded.
const int watching =
    ::pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

unsigned fork_generation() {
  (void)watching;
  return generation.load(std::memory_order_relaxed);
}

}  // namespace attune
