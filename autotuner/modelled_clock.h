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

  // A trial is proposed now.
  void submit(double compile_seconds, double measure_seconds) {
    const auto thread = std::min_element(threads_.begin(), threads_.end());
    *thread = std::max(*thread, now_) + compile_seconds;
    compiled_.emplace(*thread, Waiting{ends_.size(), measure_seconds});
    ends_.push_back(kUnknown);
  }

  // Goes on until the earliest submitted trial that was not waited for yet has ended. Nothing submitted later
  // can be measured before that. Precondition: there is one.
  void wait() {
    const std::size_t wanted = waited_++;
    while (ends_[wanted] == kUnknown) {
      const auto [compiled, waiting] = *compiled_.begin();
      compiled_.erase(compiled_.begin());
      gpu_ = std::max(gpu_, compiled) + waiting.measure_seconds;
      ends_[waiting.trial] = gpu_;
    }
    now_ = std::max(now_, ends_[wanted]);
  }

 private:
  static constexpr double kUnknown = -1;
  struct Waiting {
    std::size_t trial;
    double measure_seconds;
  };

  double now_ = 0;
  std::vector<double> threads_;              // when each is free
  double gpu_ = 0;                           // when it is free
  std::multimap<double, Waiting> compiled_;  // by when; not measured yet
  std::vector<double> ends_;                 // by trial
  std::size_t waited_ = 0;
};

}  // namespace attune
