#include "serve/metrics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

namespace attune::serve {
namespace {

constexpr auto kWindow = std::chrono::seconds(60);

void family(std::string& text, std::string_view name, std::string_view type, std::string_view help) {
  text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

std::int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  std::int64_t total = 0, resident = 0;
  in >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace

void RequestMetrics::count(const std::string& route, int status, std::chrono::nanoseconds took) {
  const double seconds = std::chrono::duration<double>(took).count();
  std::size_t bucket = 0;
  while (bucket < kBounds.size() && seconds > kBounds[bucket]) ++bucket;
  const std::lock_guard lock(mutex_);
  Route& counted = routes_[route];
  ++counted.by_status[status];
  ++counted.buckets[bucket];
  counted.seconds += seconds;
}

std::string RequestMetrics::text() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  family(text, "attune_http_requests_total", "counter", "Requests answered, by route and status.");
  for (const auto& [route, counted] : routes_) {
    for (const auto& [status, count] : counted.by_status)
      text +=
          fmt::format("attune_http_requests_total{{route=\"{}\",status=\"{}\"}} {}\n", route, status, count);
  }
  family(text, "attune_http_request_seconds", "histogram",
         "Time from a request read to its answer handed over.");
  for (const auto& [route, counted] : routes_) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < counted.buckets.size(); ++i) {
      sum += counted.buckets[i];
      const std::string bound = i < kBounds.size() ? fmt::format("{}", kBounds[i]) : "+Inf";
      text +=
          fmt::format("attune_http_request_seconds_bucket{{route=\"{}\",le=\"{}\"}} {}\n", route, bound, sum);
    }
    text += fmt::format("attune_http_request_seconds_sum{{route=\"{}\"}} {}\n", route, counted.seconds);
    text += fmt::format("attune_http_request_seconds_count{{route=\"{}\"}} {}\n", route, sum);
  }
  return text;
}

void Metrics::count_trial(Outcome outcome) {
  const std::lock_guard lock(mutex_);
  ++trials_[outcome];
}

void Metrics::count_end(JobState state) {
  const std::lock_guard lock(mutex_);
  ++ended_[state];
}

void Metrics::count_lookup(const std::string& provenance) {
  const std::lock_guard lock(mutex_);
  ++lookups_[provenance];
}

void Metrics::count_llm(std::int64_t calls, std::int64_t tokens, double dollars) {
  const std::lock_guard lock(mutex_);
  llm_calls_ += calls;
  llm_tokens_ += tokens;
  llm_dollars_ += dollars;
}

void Metrics::count_refusal(const std::string& why) {
  const std::lock_guard lock(mutex_);
  ++refusals_[why];
}

Metrics::Sample Metrics::sample_now() const {
  Sample sample{.at = std::chrono::steady_clock::now(), .trials = 0, .busy_ns = {}};
  for (const auto& [outcome, count] : trials_) sample.trials += count;
  for (const WorkerMetrics& worker : workers_) sample.busy_ns.push_back(worker.busy_ns.load());
  return sample;
}

const Metrics::Sample& Metrics::sample_before(const Sample& now) {
  if (samples_.empty()) samples_.push_back({begin_, 0, std::vector<std::int64_t>(workers_.size())});
  while (samples_.size() > 1 && now.at - samples_[1].at >= kWindow) samples_.pop_front();
  return samples_.front();
}

std::string Metrics::text(const Gauges& gauges) {
  std::string text = requests_.text();
  const std::lock_guard lock(mutex_);
  const Sample now = sample_now();
  const Sample before = sample_before(now);
  const double seconds = std::max(1e-3, std::chrono::duration<double>(now.at - before.at).count());
  if (now.at - samples_.back().at > std::chrono::seconds(1)) samples_.push_back(now);

  family(text, "attune_ready", "gauge", "1 where jobs are taken and run.");
  text += fmt::format("attune_ready {}\n", gauges.ready ? 1 : 0);
  family(text, "attune_trials_total", "counter", "Trials measured by this process, by outcome.");
  for (const auto& [outcome, count] : trials_)
    text += fmt::format("attune_trials_total{{outcome=\"{}\"}} {}\n", to_string(outcome), count);
  family(text, "attune_trials_per_second", "gauge", "Over the last minute between scrapes.");
  text +=
      fmt::format("attune_trials_per_second {}\n", static_cast<double>(now.trials - before.trials) / seconds);

  family(text, "attune_gpu_busy_seconds_total", "counter",
         "Time in which a worker's device verified or timed.");
  for (std::size_t i = 0; i < workers_.size(); ++i)
    text += fmt::format("attune_gpu_busy_seconds_total{{worker=\"{}\"}} {}\n", i,
                        static_cast<double>(now.busy_ns[i]) * 1e-9);
  family(text, "attune_gpu_busy_share", "gauge", "The same as a share of the last minute between scrapes.");
  for (std::size_t i = 0; i < workers_.size(); ++i)
    text += fmt::format("attune_gpu_busy_share{{worker=\"{}\"}} {}\n", i,
                        static_cast<double>(now.busy_ns[i] - before.busy_ns[i]) * 1e-9 / seconds);
  family(text, "attune_worker_job", "gauge", "Id of the job that a worker runs, 0 for none.");
  for (std::size_t i = 0; i < workers_.size(); ++i)
    text += fmt::format("attune_worker_job{{worker=\"{}\"}} {}\n", i, workers_[i].job.load());

  std::int64_t compiled = 0, from_store = 0;
  double compile_seconds = 0;
  for (const WorkerMetrics& worker : workers_) {
    compiled += worker.compiled.load();
    from_store += worker.from_store.load();
    compile_seconds += worker.compile_seconds.load();
  }
  family(text, "attune_kernels_total", "counter", "Kernels that searches needed, by where they came from.");
  text += fmt::format(
      "attune_kernels_total{{source=\"compiled\"}} {}\nattune_kernels_total{{source=\"store\"}} {}\n",
      compiled, from_store);
  family(text, "attune_compile_seconds_total", "counter", "Compiler time of searches, all threads together.");
  text += fmt::format("attune_compile_seconds_total {}\n", compile_seconds);

  family(text, "attune_jobs", "gauge", "Jobs in the database, by state.");
  for (const JobState state : {JobState::queued, JobState::running, JobState::cancelling, JobState::done,
                               JobState::failed, JobState::cancelled}) {
    const auto found = gauges.jobs.find(state);
    text += fmt::format("attune_jobs{{state=\"{}\"}} {}\n", to_string(state),
                        found == gauges.jobs.end() ? 0 : found->second);
  }
  family(text, "attune_jobs_ended_total", "counter", "Jobs that this process saw end, by how.");
  for (const auto& [state, count] : ended_)
    text += fmt::format("attune_jobs_ended_total{{state=\"{}\"}} {}\n", to_string(state), count);
  family(text, "attune_refused_total", "counter", "Requests turned away, by reason.");
  for (const auto& [why, count] : refusals_)
    text += fmt::format("attune_refused_total{{reason=\"{}\"}} {}\n", why, count);
  family(text, "attune_lookups_total", "counter", "Lookups answered, by provenance.");
  for (const auto& [provenance, count] : lookups_)
    text += fmt::format("attune_lookups_total{{provenance=\"{}\"}} {}\n", provenance, count);

  family(text, "attune_llm_calls_total", "counter", "Calls to a language model.");
  text += fmt::format("attune_llm_calls_total {}\n", llm_calls_);
  family(text, "attune_llm_tokens_total", "counter", "Tokens in and out.");
  text += fmt::format("attune_llm_tokens_total {}\n", llm_tokens_);
  family(text, "attune_llm_cost_dollars_total", "counter",
         "What the calls cost by the prices that were given.");
  text += fmt::format("attune_llm_cost_dollars_total {}\n", llm_dollars_);

  family(text, "attune_http_connections", "gauge", "Open connections.");
  text += fmt::format("attune_http_connections {}\n", gauges.connections);
  family(text, "attune_event_streams", "gauge", "Clients that follow a job.");
  text += fmt::format("attune_event_streams {}\n", gauges.followers);
  family(text, "process_resident_memory_bytes", "gauge", "Resident memory of the server process.");
  text += fmt::format("process_resident_memory_bytes {}\n", resident_bytes());
  family(text, "attune_uptime_seconds", "gauge", "Since the server started.");
  text +=
      fmt::format("attune_uptime_seconds {:.3f}\n", std::chrono::duration<double>(now.at - begin_).count());
  return text;
}

}  // namespace attune::serve
