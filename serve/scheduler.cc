#include "serve/scheduler.h"

#include <algorithm>
#include <chrono>

namespace attune::serve {
namespace {

constexpr double kNewestShare = 0.2;              // of the latest job in the mean
constexpr auto kRetry = std::chrono::seconds(1);  // where the database refuses
constexpr double kPresentSeconds = 30;            // three times as long as between two thorough looks

}  // namespace

Scheduler::Scheduler(JobStore& jobs, Metrics& metrics, EventHub& hub, int workers, Run run,
                     std::function<void(const std::string&)> log, Ability ability)
    : jobs_(jobs),
      metrics_(metrics),
      hub_(hub),
      workers_(workers),
      run_(std::move(run)),
      log_(std::move(log)),
      ability_(std::move(ability)),
      lease_length_(
          std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(jobs.lease_seconds()))) {}

Scheduler::~Scheduler() {
  stop();
}

Status Scheduler::start() {
  if (auto status = look_around(true); !status) return status;
  const std::lock_guard lock(mutex_);
  for (int worker = 0; worker < workers_; ++worker) threads_.emplace_back([this, worker] { work(worker); });
  return {};
}

void Scheduler::added(const Job& job) {
  {
    const std::lock_guard lock(mutex_);
    enqueue(job);
  }
  work_.notify_one();
}

Status Scheduler::look_around(bool thoroughly) {
  if (thoroughly && jobs_.is_shared()) {
    if (auto status = jobs_.present(ability_.device, kPresentSeconds); !status) return status;
  }
  const auto left = jobs_.put_back_lost();
  if (!left) return left.error();
  if (*left > 0) log_(fmt::format("jobs of a server that is gone go on: {}", *left));
  if (!thoroughly && queued() > 0) return {};
  const auto waiting = jobs_.queued();
  if (!waiting) return waiting.error();
  {
    const std::lock_guard lock(mutex_);
    for (const Job& job : *waiting) enqueue(job);
  }
  work_.notify_all();
  return {};
}

bool Scheduler::is_for_this(const Job& job) const {
  if (!jobs_.is_shared()) return true;
  return (job.device.empty() || job.device == ability_.device) && !elsewhere_.contains(job.id);
}

// What the database says of a job may be old by now: one that a worker has is not queued for another.
void Scheduler::enqueue(const Job& job) {
  if (is_for_this(job) && !running_.contains(job.id)) queue_.add(job.id, job.client, job.priority);
}

// Of one that is shared: whether it can be run here.
Status Scheduler::check(const Job& job) const {
  if (!jobs_.is_shared() || !ability_.check) return {};
  const auto request = parse_job_request(job.request);
  return request ? ability_.check(*request) : Status(request.error());
}

void Scheduler::renew_leases() {
  std::vector<std::shared_ptr<Running>> running;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, each] : running_) {
      if (each->held) running.push_back(each);
    }
  }
  for (const auto& each : running) {
    const auto asked = Clock::now();
    const auto state = jobs_.renew(each->lease);
    if (state && *state == JobState::running) {
      each->good_until = asked + lease_length_;
    } else if (state || asked > each->good_until) {  // cancelled, lost, or perhaps lost
      each->stop = true;
    }
  }
}

bool Scheduler::is_running(std::int64_t id) const {
  const std::lock_guard lock(mutex_);
  return running_.contains(id);
}

Result<std::optional<Job>> Scheduler::cancel(std::int64_t id, const std::string& message) {
  auto job = jobs_.cancel(id, message);
  if (!job || !*job) return job;
  {
    const std::lock_guard lock(mutex_);
    queue_.remove(id);
    if (const auto found = running_.find(id); found != running_.end()) found->second->stop = true;
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

// Starts the job, unless it is not queued any more, and reads it as it then stands.
Result<std::optional<Job>> Scheduler::take(std::int64_t id, Running& running) {
  auto job = jobs_.job(id);
  if (!job || !*job || (*job)->state != JobState::queued) return job;
  if (const auto able = check(**job); !able) {
    if (auto told = jobs_.decline(id, able.error().message); !told) return told.error();
    log_(fmt::format("job {} is left to other servers: {}", id, able.error().message));
    const std::lock_guard lock(mutex_);
    elsewhere_.insert(id);
    return job;
  }
  const auto asked = Clock::now();
  const auto lease = jobs_.start(id);
  if (!lease) return lease.error();
  job = jobs_.job(id);
  if (!*lease) return job;
  running.lease = **lease;
  if (!job || !*job) {
    settle({.state = {}, .message = {}, .result = {}, .interrupted = true}, **lease);
    return job;
  }
  running.good_until = asked + lease_length_;
  running.held = true;
  return job;
}

void Scheduler::serve(std::int64_t id, int worker) {
  std::shared_ptr<Running> running;
  {
    const std::lock_guard lock(mutex_);
    running = running_.at(id);
  }
  const auto begin = Clock::now();
  const auto job = take(id, *running);
  if (!job) {
    log_(fmt::format("job {} could not be started: {}", id, job.error().message));
    std::unique_lock lock(mutex_);
    pause(lock);
  }
  if (running->held) {
    hub_.notify(id);
    metrics_.worker(static_cast<std::size_t>(worker)).job = id;
    const JobEnd end = run_guarded(**job, worker, *running);
    metrics_.worker(static_cast<std::size_t>(worker)).job = 0;
    settle(end, running->lease);
    hub_.notify(id);
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  // As it is in the database: what was put back, or could not be started, waits again.
  auto now = jobs_.job(id);
  std::unique_lock lock(mutex_);
  while (!now && !stopping_) {
    pause(lock);
    lock.unlock();
    now = jobs_.job(id);
    lock.lock();
  }
  running_.erase(id);
  if (!now || !*now) return;
  queue_.done((*now)->client, running->held ? seconds : 0);
  if ((*now)->state == JobState::queued) enqueue(**now);
  if (running->held) job_seconds_ += kNewestShare * (seconds - job_seconds_);
}

JobEnd Scheduler::run_guarded(const Job& job, int worker, Running& running) {
  const auto failed = [](std::string message) {
    return JobEnd{
        .state = JobState::failed, .message = std::move(message), .result = {}, .interrupted = false};
  };
  // Of a trial that the job was not told of nobody would see anything: the job runs again, if it is still
  // ours.
  bool untold = false;
  try {
    const auto request = parse_job_request(job.request);
    if (!request) return failed(request.error().message);  // of another version
    JobEnd end = run_(*request, worker, running.stop, [&](const TrialNews& news) -> Status {
      if (news.fresh) metrics_.count_trial(news.trial.outcome);
      const auto added = jobs_.add_trial(running.lease, news.trial.id, news.best_us);
      if (!added || *added == JobStore::Addition::refused) {
        untold = true;
        running.stop = true;
        return added ? fail("another server has the job by now, or it was ended") : added.error();
      }
      if (*added == JobStore::Addition::added) hub_.notify(job.id);
      return {};
    });
    if (untold && !end.interrupted) log_(fmt::format("job {} stops here: {}", job.id, end.message));
    end.interrupted = end.interrupted || untold;
    return end;
  } catch (const std::exception& surprise) {
    return failed(fmt::format("unexpected: {}", surprise.what()));
  }
}

// Until the database takes it: a job that is not told to have ended would run again.
void Scheduler::settle(const JobEnd& end, const JobLease& lease) {
  for (;;) {
    std::optional<JobState> state;  // that it now has; nothing: the lease was lost
    Status status;
    if (end.interrupted) {
      const auto then = jobs_.put_back(lease);  // or cancelling -> cancelled
      if (then) state = *then;
      if (!then) status = then.error();
    } else {
      const std::string result =
          end.result.is_null() ? ""
                               : end.result.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      const auto finished = jobs_.finish(lease, end.state, end.message, result);
      if (finished && *finished) state = end.state;
      if (!finished) status = finished.error();
    }
    if (status) {
      if (!state) log_(fmt::format("job {} is another server's by now, or was ended", lease.job));
      if (state && has_ended(*state)) metrics_.count_end(*state);
      return;
    }
    log_(fmt::format("the end of job {} could not be stored: {}", lease.job, status.error().message));
    if (is_stopping()) return;  // it stays `running` there, and goes on with the next server
    std::unique_lock lock(mutex_);
    pause(lock);
  }
}

void Scheduler::pause(std::unique_lock<std::mutex>& lock) {
  work_.wait_for(lock, kRetry, [this] { return stopping_; });
}

}  // namespace attune::serve
