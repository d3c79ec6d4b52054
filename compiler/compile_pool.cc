#include "compiler/compile_pool.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace attune {
namespace {

using Done = std::function<void(CompiledKernel)>;

struct Job {
  KernelSource source;
  std::string arch;
  Done done;
};

// Keys under which an NVRTC of attune's major version may have published, newest first: a machine without
// NVRTC takes what it finds.
std::vector<std::string> possible_keys(const KernelSource& source, const std::string& arch) {
  std::vector<std::string> keys;
  for (int minor = 9; minor >= 0; --minor)
    keys.push_back(kernel_key(source, arch, fmt::format("13.{}", minor)));
  return keys;
}

}  // namespace

class CompilePool::State {
 public:
  State(std::shared_ptr<const Nvrtc> nvrtc, CubinStore store, int threads, std::chrono::milliseconds timeout)
      : nvrtc_(std::move(nvrtc)), store_(std::move(store)), timeout_(timeout) {
    for (int i = 0; i < std::max(threads, 1); ++i) threads_.emplace_back([this] { work(); });
  }

  ~State() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      queue_.clear();
    }
    wanted_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void submit(Job job) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(job));
    }
    wanted_.notify_one();
  }

  CompiledKernel compile(const KernelSource& source, const std::string& arch) {
    CompiledKernel kernel = nvrtc_ ? find_or_compile(source, arch) : find_without_nvrtc(source, arch);
    const std::lock_guard lock(mutex_);
    if (kernel.from_store) {
      ++stats_.from_store;
    } else if (nvrtc_) {
      ++stats_.compiled;
      stats_.compile_seconds += kernel.compile_ms / 1e3;
    }
    return kernel;
  }

  CompileStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  const CubinStore& store() const { return store_; }
  std::string nvrtc_version() const { return nvrtc_ ? nvrtc_->version() : ""; }
  int threads() const { return static_cast<int>(threads_.size()); }

 private:
  CompiledKernel find_or_compile(const KernelSource& source, const std::string& arch) const {
    if (auto found = store_.find(nvrtc_->key(source, arch))) return std::move(*found);
    CompiledKernel kernel = nvrtc_->compile(source, arch, timeout_);
    if (const auto status = store_.publish(kernel); !status) kernel.store_error = status.error().message;
    return kernel;
  }

  CompiledKernel find_without_nvrtc(const KernelSource& source, const std::string& arch) const {
    for (const auto& key : possible_keys(source, arch)) {
      if (auto found = store_.find(key)) return std::move(*found);
    }
    CompiledKernel missing;
    missing.entry = source.entry;
    missing.arch = arch;
    missing.log =
        fmt::format("attune: {} for {} is not in the kernel cache {}, and there is no NVRTC to compile it",
                    source.name, arch, store_.folder().string());
    return missing;
  }

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wanted_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      Job job = std::move(queue_.front());
      queue_.pop_front();
      const std::string key = kernel_key(job.source, job.arch, nvrtc_ ? nvrtc_->version() : "");
      const auto [running, is_first] = running_.try_emplace(key);
      if (!is_first) {  // somebody compiles it right now
        running->second.push_back(std::move(job.done));
        continue;
      }
      lock.unlock();
      CompiledKernel kernel = compile(job.source, job.arch);
      lock.lock();
      const std::vector<Done> others = std::move(running_.at(key));
      running_.erase(key);
      stats_.from_store += static_cast<std::int64_t>(others.size());
      lock.unlock();
      for (const auto& done : others) {
        CompiledKernel copy = kernel;
        copy.from_store = true;
        done(std::move(copy));
      }
      job.done(std::move(kernel));
      lock.lock();
    }
  }

  const std::shared_ptr<const Nvrtc> nvrtc_;
  const CubinStore store_;
  const std::chrono::milliseconds timeout_;

  mutable std::mutex mutex_;
  std::condition_variable wanted_;
  std::deque<Job> queue_;
  std::map<std::string, std::vector<Done>> running_;  // by key: who else waits for it
  CompileStats stats_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;  // last: they use all of the above
};

CompilePool::CompilePool(std::shared_ptr<const Nvrtc> nvrtc, CubinStore store, int threads,
                         std::chrono::milliseconds timeout)
    : state_(std::make_unique<State>(std::move(nvrtc), std::move(store), threads, timeout)) {}

CompilePool::~CompilePool() = default;

void CompilePool::submit(KernelSource source, std::string arch, std::function<void(CompiledKernel)> done) {
  state_->submit({std::move(source), std::move(arch), std::move(done)});
}

CompiledKernel CompilePool::compile(const KernelSource& source, const std::string& arch) {
  return state_->compile(source, arch);
}

CompileStats CompilePool::stats() const {
  return state_->stats();
}
const CubinStore& CompilePool::store() const {
  return state_->store();
}
std::string CompilePool::nvrtc_version() const {
  return state_->nvrtc_version();
}
int CompilePool::threads() const {
  return state_->threads();
}

}  // namespace attune
