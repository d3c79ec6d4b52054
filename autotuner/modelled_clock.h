// When trials would have ended on a machine that compiles with some threads and measures on one GPU, as the
// pipeline does it: first come, first served on both, and both at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <vector>

namespace attune {

class ModelledClock {
 public:
  explicit ModelledClock(std::size_t compile_threads) : threads_(compile_threads, 0.0) {}

  double now() const { return now_; }  // seconds

  // A trial is proposed now. Returns its number: 0, 1 and so on.
  std::size_t submit(double compile_seconds, double measure_seconds) {
    const auto thread = std::min_element(threads_.begin(), threads_.end());
    *thread = std::max(*thread, now_) + compile_seconds;
    compiled_.emplace(*thread, Waiting{submitted_, measure_seconds});
    return submitted_++;
  }

  // Goes on until the next trial has ended; returns its number. Nothing submitted later can be measured
  // before that. Precondition: there is one.
  std::size_t wait() {
    const auto [compiled, waiting] = *compiled_.begin();
    compiled_.erase(compiled_.begin());
    now_ = std::max(now_, compiled) + waiting.measure_seconds;
    return waiting.trial;
  }

 private:
  struct Waiting {
    std::size_t trial;
    double measure_seconds;
  };

  double now_ = 0;                           // the GPU is free
  std::vector<double> threads_;              // when each is free
  std::multimap<double, Waiting> compiled_;  // by when; not measured yet
  std::size_t submitted_ = 0;
};

}  // namespace attune
