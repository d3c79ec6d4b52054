#include "serve/service.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "autotuner/open_compiler.h"

namespace attune::serve {
namespace {

constexpr int kTaskThreads = 2;
constexpr int kCompileNiceness = 10;  // of searches: answers to clients go first
constexpr std::size_t kMostWaitingTasks = 64;

}  // namespace

Service::Service(ServiceOptions options, SweepTarget devices)
    : options_(std::move(options)), devices_(std::move(devices)) {}

Service::~Service() {
  stop();
  if (lock_ >= 0) close(lock_);
}

Result<std::unique_ptr<Service>> Service::open(ServiceOptions options, SweepTarget devices) {
  std::unique_ptr<Service> service(new Service(std::move(options), std::move(devices)));
  if (auto status = service->open_parts(); !status) return status.error();
  return service;
}

void Service::stop() {
  ready_ = false;
  if (scheduler_) scheduler_->stop();
  if (tasks_) tasks_->stop();
}

// Two servers on one database would run each other's jobs again.
Status Service::lock_database() {
  const std::string file = options_.database.string() + ".serve";
  lock_ = ::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (lock_ < 0) return fail("cannot write {}: {}", file, std::strerror(errno));
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0)
    return fail("another attune serve works on {}; give this one a database of its own with --db",
                options_.database.string());
  return {};
}

Status Service::open_parts() {
  auto store = open_sqlite_store(options_.database);
  if (!store) return store.error();
  store_ = *std::move(store);
  if (auto status = lock_database(); !status) return status;
  auto reader = open_sqlite_store(options_.database, {.read_only = true});
  if (!reader) return reader.error();
  reader_ = *std::move(reader);
  auto jobs = open_sqlite_jobs(options_.database);
  if (!jobs) return jobs.error();
  jobs_ = *std::move(jobs);
  auto shipped = attune::packs(nullptr, trusted());
  if (!shipped) return shipped.error();
  packs_ = *std::move(shipped);

  const int workers = std::max(1, static_cast<int>(devices_.gpus.size()));
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int threads = options_.threads > 0 ? options_.threads : cores;
  for (int worker = 0; worker < workers; ++worker) {
    auto compiler = open_compiler(std::max(1, threads / workers), kCompileNiceness);
    if (!compiler) return compiler.error();
    compilers_.push_back(*std::move(compiler));
  }
  auto compiler = open_compiler(1);
  if (!compiler) return compiler.error();
  compiler_ = *std::move(compiler);

  metrics_ = std::make_unique<Metrics>(static_cast<std::size_t>(workers));
  tasks_ = std::make_unique<TaskPool>(kTaskThreads, kMostWaitingTasks);
  scheduler_ = std::make_unique<Scheduler>(
      *jobs_, *metrics_, hub_, workers,
      [this](const JobRequest& request, int worker, const std::atomic<bool>& stop,
             const TrialListener& on_trial) { return run(request, worker, stop, on_trial); },
      options_.log);
  if (auto status = scheduler_->start(); !status) return status;
  ready_ = true;
  return {};
}

JobEnd Service::run(const JobRequest& request, int worker, const std::atomic<bool>& stop,
                    const TrialListener& on_trial) {
  const auto number = static_cast<std::size_t>(worker);
  const JobTools tools{
      *store_,  *compilers_[number], packs_, devices_, worker, metrics_->worker(number), options_.open_chat,
      *metrics_};
  return run_job(request, tools, stop, [&](const TrialNews& news) -> Status {
    // What is served changes with a new best; the rest shows when the answers' short life is over.
    const bool best = news.trial.timing && news.best_us == news.trial.timing->median_us;
    if (news.fresh && (best || news.trial.final_round)) answers_.clear();
    return on_trial(news);
  });
}

}  // namespace attune::serve
