// How long a search got all it could from what it runs on.
#pragma once

#include <chrono>

namespace attune {

// Adds up the time in which the device measured or every compile thread had a kernel to compile: where that
// is all of a search's time, only faster hardware makes it faster. Not thread safe; `now` never goes back.
class LimitClock {
 public:
  using Time = std::chrono::steady_clock::time_point;

  LimitClock(int compile_threads, Time now) : compile_threads_(compile_threads), since_(now) {}

  void compile_begins(Time now) { change(now).compiles_ += 1; }  // or waits for a thread
  void compile_ends(Time now) { change(now).compiles_ -= 1; }
  void device_is(bool busy, Time now) { change(now).device_busy_ = busy; }

  // The search has ended, whatever is still under way.
  void stop(Time now) { change(now).stopped_ = true; }

  double seconds(Time now) const {
    const bool counts = !stopped_ && (device_busy_ || compiles_ >= compile_threads_);
    return seconds_ + (counts ? std::chrono::duration<double>(now - since_).count() : 0.0);
  }

 private:
  LimitClock& change(Time now) {
    seconds_ = seconds(now);
    since_ = now;
    return *this;
  }

  int compile_threads_;
  Time since_;
  double seconds_ = 0;
  int compiles_ = 0;
  bool device_busy_ = false, stopped_ = false;
};

}  // namespace attune
