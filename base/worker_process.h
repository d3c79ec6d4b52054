// A child process that is spoken to a line at a time, with deadlines.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"

namespace attune {

// Not thread safe, but need not stay on one thread.
class WorkerProcess {
 public:
  // Starts `command` (path first) with its standard input and output on one socket; standard error is shared.
  static Result<WorkerProcess> start(const std::vector<std::string>& command);
  ~WorkerProcess();  // ends the child: closes its input, then SIGKILL; never leaves one behind
  WorkerProcess(WorkerProcess&& other) noexcept;
  WorkerProcess& operator=(WorkerProcess&& other) noexcept;

  enum class Ending { answered, died, timed_out };
  struct Exchange {
    Ending ending = Ending::died;
    std::string line;  // the answer, or how the process ended ("killed by signal 11 (Segmentation fault)")
  };

  // Sends a line and waits for one. After died or timed_out the child is gone: it has been killed and reaped.
  Exchange exchange(const std::string& line, std::chrono::milliseconds timeout);

 private:
  WorkerProcess(pid_t pid, int socket) : pid_(pid), socket_(socket) {}
  void swap(WorkerProcess& other) noexcept;
  std::string end_now();  // kills, reaps, says how it ended

  pid_t pid_ = -1;
  int socket_ = -1;
  std::string received_;  // bytes beyond the last line
};

// For a worker's main thread: ends this process when the one that started it is gone (its input hangs up),
// even while it is busy; and leaves Ctrl-C, which reaches both, to that one.
void end_with_parent();

}  // namespace attune
