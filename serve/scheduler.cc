#include "serve/scheduler.h"

#include <algorithm>
#include <chrono>

namespace attune::serve {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kNewestShare = 0.2;              // of the latest job in the mean
constexpr auto kRetry = std::chrono::seconds(1);  // where the database refuses

}  // namespace

Scheduler::Scheduler(JobStore& jobs, Metrics& metrics, EventHub& hub, int workers, Run run,
                     std::function<void(const std::string&)> log)
    : jobs_(jobs),
      metrics_(metrics),
      hub_(hub),
      workers_(workers),
      run_(std::move(run)),
      log_(std::move(log)) {}

Scheduler::~Scheduler() {
  stop();
}

Status Scheduler::start() {
  const auto left = jobs_.put_back_all();
  if (!left) return left.error();
  if (*left > 0) log_(fmt::format("{} jobs of an earlier server go on", *left));
  const auto waiting = jobs_.queued();
  if (!waiting) return waiting.error();
  const std::lock_guard lock(mutex_);
  for (const Job& job : *waiting) queue_.add(job.id, job.client, job.priority);
  for (int worker = 0; worker < workers_; ++worker) threads_.emplace_back([this, worker] { work(worker); });
  return {};
}

void Scheduler::added(const Job& job) {
  {
    const std::lock_guard lock(mutex_);
    queue_.add(job.id, job.client, job.priority);
  }
  work_.notify_one();
}

Result<std::optional<Job>> Scheduler::cancel(std::int64_t id, const std::string& message) {
  auto job = jobs_.cancel(id, message);
  if (!job || !*job) return job;
  {
    const std::lock_guard lock(mutex_);
    queue_.remove(id);
    if (const auto found = running_.find(id); found != running_.end()) {
      found->second->cancelled = true;
      found->second->stop = true;
    }
  }
  hub_.notify(id);
  return job;
}

void Scheduler::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const auto& [id, running] : running_) running->stop = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

std::size_t Scheduler::queued() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

double Scheduler::seconds_until_room() const {
  const std::lock_guard lock(mutex_);
  return std::clamp(job_seconds_ / workers_, 1.0, 600.0);
}

bool Scheduler::is_stopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void Scheduler::work(int worker) {
  for (;;) {
    std::int64_t id = 0;
    {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [this] { return stopping_ || queue_.size() > 0; });
      if (stopping_) return;
      id = *queue_.next();
      running_.emplace(id, std::make_shared<Running>());
    }
    serve(id, worker);
  }
}

void Scheduler::serve(std::int64_t id, int worker) {
  std::shared_ptr<Running> running;
  {
    const std::lock_guard lock(mutex_);
    running = running_.at(id);
  }
  const auto begin = Clock::now();
  std::string client;
  const auto started = jobs_.start(id);
  const auto job = started ? jobs_.job(id) : Result<std::optional<Job>>(started.error());
  if (!job) {
    // Back into the queue as it is in the database, after a while.
    log_(fmt::format("job {} could not be started: {}", id, job.error().message));
    std::unique_lock lock(mutex_);
    work_.wait_for(lock, kRetry, [this] { return stopping_; });
    running_.erase(id);
    if (const auto again = jobs_.job(id); again && *again && (*again)->state == JobState::queued) {
      queue_.done((*again)->client, 0);
      queue_.add(id, (*again)->client, (*again)->priority);
    }
    return;
  }
  if (*job) client = (*job)->client;
  if (*started && *job) {
    hub_.notify(id);
    metrics_.worker(static_cast<std::size_t>(worker)).job = id;
    const JobEnd end = run_guarded(**job, worker, running->stop);
    metrics_.worker(static_cast<std::size_t>(worker)).job = 0;
    settle(id, end, *running);
    hub_.notify(id);
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const std::lock_guard lock(mutex_);
  running_.erase(id);
  queue_.done(client, seconds);
  job_seconds_ += kNewestShare * (seconds - job_seconds_);
}

JobEnd Scheduler::run_guarded(const Job& job, int worker, const std::atomic<bool>& stop) {
  const auto failed = [](std::string message) {
    return JobEnd{
        .state = JobState::failed, .message = std::move(message), .result = {}, .interrupted = false};
  };
  try {
    const auto request = parse_job_request(job.request);
    if (!request) return failed(request.error().message);  // of another version
    return run_(*request, worker, stop, [&](const TrialNews& news) -> Status {
      if (news.fresh) metrics_.count_trial(news.trial.outcome);
      const auto added = jobs_.add_trial(job.id, news.trial.id, news.best_us);
      if (!added) return added.error();
      if (*added) hub_.notify(job.id);
      return {};
    });
  } catch (const std::exception& surprise) {
    return failed(fmt::format("unexpected: {}", surprise.what()));
  }
}

// Until the database takes it: a job that is not told to have ended would run again.
void Scheduler::settle(std::int64_t id, const JobEnd& end, const Running& running) {
  for (;;) {
    Status status;
    JobState state = end.state;
    if (end.interrupted && !running.cancelled) {
      status = jobs_.put_back(id);
      state = JobState::queued;
    } else if (end.interrupted) {
      status = jobs_.put_back(id);  // cancelling -> cancelled
      state = JobState::cancelled;
    } else {
      const std::string result = end.result.is_null() ? "" : end.result.dump();
      status = jobs_.finish(id, end.state, end.message, result);
    }
    if (status) {
      if (has_ended(state)) metrics_.count_end(state);
      return;
    }
    log_(fmt::format("the end of job {} could not be stored: {}", id, status.error().message));
    if (is_stopping()) return;  // it stays `running` there, and goes on with the next server
    std::unique_lock lock(mutex_);
    work_.wait_for(lock, kRetry, [this] { return stopping_; });
  }
}

}  // namespace attune::serve
