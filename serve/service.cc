#include "serve/service.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "autotuner/open_compiler.h"
#include "cache/location.h"

namespace attune::serve {
namespace {

constexpr int kTaskThreads = 2;
constexpr int kCompileNiceness = 19;  // of searches: answers to clients go first, on two cores too
constexpr std::size_t kMostWaitingTasks = 64;
constexpr int kReadThreads = 4;  // where a read may wait for another machine
constexpr std::size_t kMostWaitingReads = 1024;
// With a database server that was there and is gone: what a client waits for ends soon, a search goes on.
constexpr int kPatienceMs = 5000;
constexpr int kWorkersPatienceMs = 600'000;

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
  shared_.reset();  // has kept the leases until here
  if (tasks_) tasks_->stop();
  if (refreshes_) refreshes_->stop();
  if (reads_) reads_->stop();
}

// Two servers on one database would run each other's jobs again.
Status Service::lock_database() {
  const std::string file = options_.database + ".serve";
  lock_ = ::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  if (lock_ < 0) return fail("cannot write {}: {}", file, std::strerror(errno));
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0)
    return fail("another attune serve works on {}; give this one a database of its own with --db",
                options_.database);
  return {};
}

Status Service::open_databases() {
  const bool shared = is_server(options_.database);
  auto store = open_store(options_.database, {.server_patience_ms = kPatienceMs});
  if (!store) return store.error();
  store_ = *std::move(store);
  if (shared) {
    auto patient = open_store(options_.database, {.server_patience_ms = kWorkersPatienceMs});
    if (!patient) return patient.error();
    workers_store_ = *std::move(patient);
    reads_ = std::make_unique<TaskPool>(kReadThreads, kMostWaitingReads);
  } else if (auto status = lock_database(); !status) {
    return status;
  }
  auto reader = open_store(options_.database, {.read_only = true, .server_patience_ms = kPatienceMs});
  if (!reader) return reader.error();
  reader_ = *std::move(reader);
  auto jobs = open_jobs(
      options_.database,
      {.holder = options_.name, .lease_seconds = options_.lease_seconds, .server_patience_ms = kPatienceMs});
  if (!jobs) return jobs.error();
  jobs_ = *std::move(jobs);
  return {};
}

Status Service::open_parts() {
  if (auto status = open_databases(); !status) return status;
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
  refreshes_ = std::make_unique<TaskPool>(1, kMostWaitingTasks);
  scheduler_ = std::make_unique<Scheduler>(
      *jobs_, *metrics_, hub_, workers,
      [this](const JobRequest& request, int worker, const std::atomic<bool>& stop,
             const TrialListener& on_trial) { return run(request, worker, stop, on_trial); },
      options_.log,
      Scheduler::Ability{device_name(), [this](const JobRequest& request) {
                           return check_job(request, devices_, static_cast<bool>(options_.open_chat));
                         }});
  if (auto status = scheduler_->start(); !status) return status;
  if (jobs_->is_shared()) shared_ = std::make_unique<SharedJobs>(*jobs_, *scheduler_, hub_, options_.log);
  ready_ = true;
  return {};
}

std::string Service::device_name() const {
  return fmt::format("{}, {}{}", devices_.device.name, devices_.device.arch,
                     devices_.replays ? ", replayed" : "");
}

bool Service::read(std::function<void()> task) {
  if (reads_) return reads_->submit(std::move(task));
  task();
  return true;
}

JobEnd Service::run(const JobRequest& request, int worker, const std::atomic<bool>& stop,
                    const TrialListener& on_trial) {
  const auto number = static_cast<std::size_t>(worker);
  const JobTools tools{workers_store_ ? *workers_store_ : *store_,
                       *compilers_[number],
                       packs_,
                       devices_,
                       worker,
                       metrics_->worker(number),
                       options_.open_chat,
                       *metrics_};
  return run_job(request, tools, stop, [&](const TrialNews& news) -> Status {
    // What is served changes with a new best; the rest shows when the answers have grown old.
    const bool best = news.trial.timing && news.best_us == news.trial.timing->median_us;
    if (news.fresh && (best || news.trial.final_round)) answers_.clear();
    return on_trial(news);
  });
}

}  // namespace attune::serve
