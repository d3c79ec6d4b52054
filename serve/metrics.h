// What a server counts, and how Prometheus reads it (text exposition format 0.0.4).
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cache/job_store.h"
#include "cache/trial.h"

namespace attune::serve {

// Of one GPU worker. Thread safe.
struct WorkerMetrics {
  std::atomic<std::int64_t> busy_ns{0};  // its device was verifying or timing
  std::atomic<std::int64_t> compiled{0};
  std::atomic<std::int64_t> from_store{0};
  std::atomic<double> compile_seconds{0};
  std::atomic<std::int64_t> job{0};  // that it works on; 0: none
};

// Counts of requests by what was asked and how it ended, and how long they took. Thread safe.
class RequestMetrics {
 public:
  static constexpr std::array<double, 10> kBounds{0.0001, 0.00025, 0.0005, 0.001, 0.0025,
                                                  0.005,  0.025,   0.1,    1,     10};  // seconds
  void count(const std::string& route, int status, std::chrono::nanoseconds took);
  std::string text() const;

 private:
  struct Route {
    std::map<int, std::int64_t> by_status;
    std::array<std::int64_t, kBounds.size() + 1> buckets{};
    double seconds = 0;
  };
  mutable std::mutex mutex_;
  std::map<std::string, Route> routes_;
};

class Metrics {
 public:
  explicit Metrics(std::size_t workers) : workers_(workers) {}

  WorkerMetrics& worker(std::size_t number) { return workers_[number]; }
  RequestMetrics& requests() { return requests_; }

  void count_trial(Outcome outcome);
  void count_end(JobState state);
  void count_lookup(const std::string& provenance);
  void count_llm(std::int64_t calls, std::int64_t tokens, double dollars);
  void count_refusal(const std::string& why);

  // What only others know, at the time of the scrape.
  struct Gauges {
    std::map<JobState, std::int64_t> jobs;
    std::size_t connections = 0;
    std::size_t followers = 0;
    bool ready = false;
  };
  std::string text(const Gauges& gauges);

 private:
  struct Sample {
    std::chrono::steady_clock::time_point at;
    std::int64_t trials = 0;
    std::vector<std::int64_t> busy_ns;
  };
  Sample sample_now() const;
  const Sample& sample_before(const Sample& now);  // of about a minute ago

  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::vector<WorkerMetrics> workers_;
  RequestMetrics requests_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<Outcome, std::int64_t> trials_;
  std::map<JobState, std::int64_t> ended_;
  std::map<std::string, std::int64_t> lookups_;
  std::map<std::string, std::int64_t> refusals_;
  std::int64_t llm_calls_ = 0;
  std::int64_t llm_tokens_ = 0;
  double llm_dollars_ = 0;
  std::deque<Sample> samples_;
};

}  // namespace attune::serve
