// How long a search kept its device busy, and how long it got all it could from what it runs on.
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

  // At one limit or the other.
  double seconds(Time now) const {
    return seconds_ + (device_busy_ || compiles_ >= compile_threads_ ? passed(now) : 0.0);
  }

  // In which the device measured.
  double device_seconds(Time now) const { return device_seconds_ + (device_busy_ ? passed(now) : 0.0); }

 private:
  double passed(Time now) const {
    return stopped_ ? 0.0 : std::chrono::duration<double>(now - since_).count();
  }

  LimitClock& change(Time now) {
    seconds_ = seconds(now);
    device_seconds_ = device_seconds(now);
    since_ = now;
    return *this;
  }

  int compile_threads_;
  Time since_;
  double seconds_ = 0, device_seconds_ = 0;
  int compiles_ = 0;
  bool device_busy_ = false, stopped_ = false;
};

}  // namespace attune
