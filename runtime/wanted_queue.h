// Shapes that were missed, on their way to the database's wanted list.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "cache/trial_store.h"

namespace attune {

// Writes from a thread of its own, opening the database for it: note() never waits for a disk, a lock or
// another process. What cannot be written is told to `log` once and dropped: a count is not worth a stall.
// Thread safe.
class WantedQueue {
 public:
  static constexpr std::size_t kMostWaiting = 1024;  // more are dropped

  // `log` is called on the queue's thread.
  WantedQueue(std::string database, std::function<void(const std::string&)> log);

  // Writes what waits, which may take as long as a database's lock is waited for (half a second). In a forked
  // child, which has no such thread, it writes nothing.
  ~WantedQueue();

  void note(const Shape& shape, const DeviceFacts& device);

 private:
  void run();
  void write(const Wanted& wanted);

  const std::string database_;
  const std::function<void(const std::string&)> log_;
  const pid_t owner_;

  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Wanted> waiting_;
  bool ending_ = false;
  std::unique_ptr<TrialStore> store_;  // of the thread
  bool told_ = false;                  // of the thread
  std::thread thread_;
};

}  // namespace attune
