#include "autotuner/pipeline.h"

#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "autotuner/limit_clock.h"
#include "base/time.h"
#include "templates/launch_spec_json.h"

namespace attune {
namespace {

// A few spilled row sums and pointers outside the inner loop cost nothing: the fastest portable kernels at
// D=128 spill 12 to 136 B and are up to 10% faster than those that do not. What spills more than this has
// never won.
constexpr std::int64_t kMaxSpillStoreBytes = 256;

// Two candidates with the same machine code and launch are one measurement.
std::string launch_key(const std::string& cubin_hash, const LaunchSpec& spec) {
  return cubin_hash + to_json(spec).dump();
}

// First line of a compiler log: enough for a message, the whole log stays in the cubin store.
std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

void copy_compile_facts(const CompiledKernel& kernel, std::int64_t dynamic_smem_bytes, Trial& trial) {
  trial.cubin_key = kernel.key;
  trial.cubin_hash = kernel.cubin_hash;
  trial.registers = kernel.usage.registers;
  trial.spill_bytes = kernel.usage.spill_store_bytes + kernel.usage.spill_load_bytes;
  trial.smem_bytes = kernel.usage.static_smem_bytes + dynamic_smem_bytes;
  trial.compile_ms = kernel.compile_ms;
}

// Sets outcome and message where the kernel must not be launched; true if it may be.
bool prune(const CompiledKernel& kernel, const LaunchSpec& spec, const DeviceFacts& device, Trial& trial) {
  if (kernel.outcome == CompileOutcome::timeout) {
    trial.outcome = Outcome::timeout;
    trial.message = fmt::format("the compile was given up after {:.0f} ms", kernel.compile_ms);
    return false;
  }
  if (kernel.outcome == CompileOutcome::error) {
    trial.outcome = Outcome::compile_error;
    trial.message = first_line(kernel.log);
    return false;
  }
  if (kernel.usage.spill_store_bytes > kMaxSpillStoreBytes || !kernel.warnings.empty()) {
    trial.outcome = Outcome::spilled;
    trial.message = kernel.warnings.empty()
                        ? fmt::format("{} B of registers spilled", kernel.usage.spill_store_bytes)
                        : fmt::format("the compiler warned {}", fmt::join(kernel.warnings, ", "));
    return false;
  }
  if (trial.smem_bytes > device.smem_per_block_bytes) {
    trial.outcome = Outcome::does_not_fit;
    trial.message = fmt::format("needs {} B of shared memory, the limit is {} B", trial.smem_bytes,
                                device.smem_per_block_bytes);
    return false;
  }
  const std::int64_t threads = std::int64_t{spec.block[0]} * spec.block[1] * spec.block[2];
  if (threads * kernel.usage.registers > device.registers_per_sm) {
    trial.outcome = Outcome::does_not_fit;
    trial.message = fmt::format("{} threads of {} registers exceed the {} of an SM", threads,
                                kernel.usage.registers, device.registers_per_sm);
    return false;
  }
  return true;
}

void copy_measurement(const Measurement& measurement, Trial& trial) {
  trial.outcome = measurement.outcome;
  trial.message = measurement.message;
  trial.timing = measurement.timing;
  trial.relative_error = measurement.relative_error;
  trial.max_abs_error = measurement.max_abs_error;
  trial.sm_clock_mhz = measurement.sm_clock_mhz;
  trial.throttle = measurement.throttle;
}

}  // namespace

Trial SearchIdentity::trial(const std::string& config_json) const {
  Trial trial;
  trial.shape = shape;
  trial.template_name = template_name;
  trial.template_hash = template_hash;
  trial.config_json = config_json;
  trial.config_hash = config_hash(config_json);
  trial.device = device;
  trial.replayed = replayed;
  trial.nvrtc_version = nvrtc_version;
  trial.policy = policy;
  trial.strategy = strategy;
  trial.session = session;
  return trial;
}

Candidate make_candidate(const Trial& trial, const Config& config, const CompiledKernel& kernel,
                         const LaunchSpec& launch, const CubinStore& store) {
  return {.config_json = trial.config_json,
          .config_hash = trial.config_hash,
          .config = config,
          .cubin_path = store.cubin_path(kernel.key).string(),
          .cubin_hash = kernel.cubin_hash,
          .entry = kernel.entry,
          .launch = launch};
}

class Pipeline::State : public std::enable_shared_from_this<Pipeline::State> {
 public:
  State(SearchIdentity identity, const AttentionTemplate& tmpl, Device& device, CompilePool& compiler)
      : identity_(std::move(identity)),
        template_(tmpl),
        device_(device),
        compiler_(compiler),
        limit_(compiler.threads(), Clock::now()) {}

  void start() {
    device_thread_ = std::thread([this] { run_device(); });
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    work_.notify_all();
    if (device_thread_.joinable()) device_thread_.join();
    const std::lock_guard lock(mutex_);
    limit_.stop(Clock::now());
  }

  std::vector<Finished> take_finished() {
    const std::lock_guard lock(mutex_);
    return std::exchange(finished_, {});
  }

  void submit(std::int64_t ticket, const Config& config, const std::string& config_json) {
    Job job{.ticket = ticket,
            .trial = identity_.trial(config_json),
            .config = config,
            .launch = template_.launch_spec(identity_.shape, identity_.device, config),
            .candidate = {}};
    {
      const std::lock_guard lock(mutex_);
      limit_.compile_begins(Clock::now());
    }
    compiler_.submit(template_.render(identity_.shape, identity_.device, config), identity_.device.arch,
                     [self = shared_from_this(), job = std::move(job)](const CompiledKernel& kernel) mutable {
                       self->compiled(kernel, std::move(job));
                     });
  }

  Result<std::vector<Finished>> wait_until(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    results_.wait_until(lock, deadline, [this] { return !finished_.empty() || fatal_error_; });
    if (fatal_error_ && finished_.empty()) return *fatal_error_;
    return std::exchange(finished_, {});
  }

  void set_incumbent(double median_us) {
    const std::lock_guard lock(mutex_);
    if (!incumbent_us_ || median_us < *incumbent_us_) incumbent_us_ = median_us;
  }

  double device_busy_seconds() {
    const std::lock_guard lock(mutex_);
    return limit_.device_seconds(Clock::now());
  }

  double at_limit_seconds() {
    const std::lock_guard lock(mutex_);
    return limit_.seconds(Clock::now());
  }

 private:
  using Clock = std::chrono::steady_clock;

  struct Job {
    std::int64_t ticket;
    Trial trial;
    Config config;
    LaunchSpec launch;
    Candidate candidate;  // once compiled
  };

  // On a compile thread.
  void compiled(const CompiledKernel& kernel, Job job) {
    copy_compile_facts(kernel, job.launch.smem_bytes, job.trial);
    const bool launchable = prune(kernel, job.launch, identity_.device, job.trial);
    job.candidate = make_candidate(job.trial, job.config, kernel, job.launch, compiler_.store());
    const std::lock_guard lock(mutex_);
    limit_.compile_ends(Clock::now());
    if (stopping_) return;
    if (!kernel.store_error.empty()) {  // a kernel that was not kept cannot be launched, nor found again
      fatal_error_ = Error{kernel.store_error};
      results_.notify_one();
      return;
    }
    if (launchable) {
      ready_.push_back(std::move(job));
      work_.notify_one();
    } else {
      publish(std::move(job));
    }
  }

  void device_is(bool busy) {
    const std::lock_guard lock(mutex_);
    limit_.device_is(busy, Clock::now());
  }

  // Requires mutex_.
  void publish(Job job) {
    job.trial.created_at = utc_timestamp();
    finished_.push_back({job.ticket, std::move(job.trial)});
    results_.notify_one();
  }

  void run_device() {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || !ready_.empty(); });
      if (stopping_) return;
      Job job = std::move(ready_.front());
      ready_.pop_front();
      const auto incumbent_us = incumbent_us_;
      lock.unlock();
      const auto error = evaluate(job, incumbent_us);
      lock.lock();
      if (error) {
        fatal_error_ = error;
        results_.notify_one();
        return;
      }
      if (job.trial.outcome == Outcome::ok &&
          (!incumbent_us_ || job.trial.timing->median_us < *incumbent_us_)) {
        incumbent_us_ = job.trial.timing->median_us;
      }
      publish(std::move(job));
    }
  }

  // On the device thread, unlocked. An Error means that the device is gone.
  std::optional<Error> evaluate(Job& job, std::optional<double> incumbent_us) {
    const std::string key = launch_key(job.candidate.cubin_hash, job.launch);
    if (const auto same = measured_.find(key); same != measured_.end()) {
      copy_measurement(same->second.second, job.trial);
      if (job.trial.message.empty()) {
        job.trial.message = "same machine code as config " + same->second.first;
      }
      return {};
    }
    device_is(true);
    auto measurement = device_.evaluate(job.candidate, incumbent_us);
    device_is(false);
    if (!measurement) return measurement.error();
    copy_measurement(*measurement, job.trial);
    measured_.emplace(key, std::pair(job.candidate.config_hash, *measurement));
    return {};
  }

  const SearchIdentity identity_;
  const AttentionTemplate& template_;
  Device& device_;
  CompilePool& compiler_;
  std::thread device_thread_;

  std::mutex mutex_;
  std::condition_variable work_;     // the device thread waits for ready_ or stopping_
  std::condition_variable results_;  // the tune loop waits for finished_ or fatal_error_
  bool stopping_ = false;
  std::deque<Job> ready_;  // compiled, not evaluated
  std::vector<Finished> finished_;
  std::optional<Error> fatal_error_;
  std::optional<double> incumbent_us_;
  LimitClock limit_;

  // Device thread only: launch_key -> (config that was measured, measurement).
  std::map<std::string, std::pair<std::string, Measurement>> measured_;
};

Pipeline::Pipeline(SearchIdentity identity, const AttentionTemplate& tmpl, Device& device,
                   CompilePool& compiler)
    : state_(std::make_shared<State>(std::move(identity), tmpl, device, compiler)) {
  state_->start();
}

Pipeline::~Pipeline() {
  state_->stop();
}

void Pipeline::submit(std::int64_t ticket, const Config& config, const std::string& config_json) {
  state_->submit(ticket, config, config_json);
}

Result<std::vector<Pipeline::Finished>> Pipeline::wait_until(std::chrono::steady_clock::time_point deadline) {
  return state_->wait_until(deadline);
}

std::vector<Pipeline::Finished> Pipeline::finish() {
  state_->stop();
  return state_->take_finished();
}

void Pipeline::set_incumbent(double median_us) {
  state_->set_incumbent(median_us);
}

double Pipeline::device_busy_seconds() const {
  return state_->device_busy_seconds();
}

double Pipeline::at_limit_seconds() const {
  return state_->at_limit_seconds();
}

}  // namespace attune
