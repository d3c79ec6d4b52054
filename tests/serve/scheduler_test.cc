// The workers over a real job store, with jobs that do what the test says.
#include "serve/scheduler.h"

#include <gmock/gmock.h>

#include <condition_variable>

#include "serve/shared_jobs.h"
#include "tests/cache/cache_fixture.h"

namespace attune::serve {
namespace {

constexpr const char* kRequest =
    R"({"shape":{"batch":1,"q_heads":2,"kv_heads":2,"q_len":128,"kv_len":128,"head_dim":64,"dtype":"bf16","mask":"none","layout":"bhsd","lse":false}})";

JobEnd done() {
  return {.state = JobState::done, .message = "", .result = {{"fine", true}}, .interrupted = false};
}

class SchedulerTest : public CacheTest {
 protected:
  void SetUp() override {
    CacheTest::SetUp();
    if (IsSkipped()) return;
    open();  // makes the tables
    jobs_ = open_another();
  }

  std::unique_ptr<JobStore> open_another(const std::string& holder = "first",
                                         double lease_seconds = 0) const {
    auto jobs = open_jobs(location(), {.holder = holder, .lease_seconds = lease_seconds});
    EXPECT_TRUE(jobs) << jobs.error().message;
    return jobs ? *std::move(jobs) : nullptr;
  }

  std::int64_t submit(const std::string& client = "a", std::int64_t priority = 0) {
    Job job;
    job.kind = "tune";
    job.request = kRequest;
    job.client = client;
    job.priority = priority;
    const auto submission = jobs_->submit(job, {});
    EXPECT_TRUE(submission);
    if (scheduler_) scheduler_->added(submission->job);
    return submission->job.id;
  }

  void start(int workers, Scheduler::Run run) {
    metrics_ = std::make_unique<Metrics>(static_cast<std::size_t>(workers));
    scheduler_ = std::make_unique<Scheduler>(*jobs_, *metrics_, hub_, workers, std::move(run),
                                             [](const std::string&) {});
    const auto status = scheduler_->start();
    ASSERT_TRUE(status) << status.error().message;
  }

  double server_value(const std::string& sql) const {
    const auto connection = PostgresConnection::open(location(), {});
    const auto rows = (*connection)->run(sql);
    return rows->real(0, 0);
  }

  Job wait_for(std::int64_t id, const std::function<bool(JobState)>& is_there = has_ended) const {
    for (;;) {
      const auto job = jobs_->job(id);
      if (job && *job && is_there((*job)->state)) return **job;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  std::unique_ptr<JobStore> jobs_;
  std::unique_ptr<Metrics> metrics_;
  EventHub hub_;
  std::unique_ptr<Scheduler> scheduler_;
};

TEST_F(SchedulerTest, RunsWhatIsSubmittedAndKeepsItsEnd) {
  start(1, [](const JobRequest&, int, const std::atomic<bool>&, const TrialListener&) { return done(); });
  const Job job = wait_for(submit());
  EXPECT_EQ(job.state, JobState::done);
  EXPECT_EQ(job.result, R"({"fine":true})");
  EXPECT_EQ(job.starts, 1);
}

TEST_F(SchedulerTest, AJobThatThrowsFailsAlone) {
  start(1, [first = true](const JobRequest&, int, const std::atomic<bool>&, const TrialListener&) mutable {
    if (std::exchange(first, false)) throw std::runtime_error("planted");
    return done();
  });
  const auto broken = submit(), whole = submit();
  EXPECT_EQ(wait_for(broken).message, "unexpected: planted");
  EXPECT_EQ(wait_for(whole).state, JobState::done);
}

TEST_F(SchedulerTest, WhatAnEarlierServerLeftGoesOn) {
  const auto left = submit(), waiting = submit();
  ASSERT_TRUE(jobs_->start(left)->has_value());
  start(1, [](const JobRequest&, int, const std::atomic<bool>&, const TrialListener&) { return done(); });
  EXPECT_EQ(wait_for(left).starts, 2);
  EXPECT_EQ(wait_for(waiting).starts, 1);
}

TEST_F(SchedulerTest, TwoClientsTakeTurns) {
  for (int i = 0; i < 20; ++i) submit("many");
  const auto few = submit("few");
  std::vector<std::string> order;  // of the clients that were served; one worker: no lock
  start(1, [&](const JobRequest&, int, const std::atomic<bool>&, const TrialListener&) {
    const auto running = jobs_->jobs({.state = JobState::running});
    order.push_back(running->front().client);
    return done();
  });
  wait_for(few);
  scheduler_->stop();
  const auto place = std::find(order.begin(), order.end(), "few") - order.begin();
  EXPECT_LE(place, 1);
}

TEST_F(SchedulerTest, WorkersRunJobsAtOnce) {
  std::mutex mutex;
  std::condition_variable both;
  int running = 0;
  start(2, [&](const JobRequest&, int, const std::atomic<bool>&, const TrialListener&) {
    std::unique_lock lock(mutex);
    ++running;
    both.notify_all();
    both.wait(lock, [&] { return running == 2; });
    return done();
  });
  const auto first = submit(), second = submit();
  EXPECT_EQ(wait_for(first).state, JobState::done);
  EXPECT_EQ(wait_for(second).state, JobState::done);
}

JobEnd until_stopped(const JobRequest&, int, const std::atomic<bool>& stop, const TrialListener&) {
  while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return {.state = JobState::done, .message = "", .result = {}, .interrupted = true};
}

TEST_F(SchedulerTest, CancellingEndsARunningJob) {
  start(1, until_stopped);
  const auto id = submit();
  wait_for(id, [](JobState state) { return state == JobState::running; });
  const auto job = scheduler_->cancel(id, "enough");
  ASSERT_TRUE(job && *job);
  EXPECT_EQ(wait_for(id).state, JobState::cancelled);
  EXPECT_EQ(wait_for(id).message, "enough");
}

TEST_F(SchedulerTest, StoppingPutsRunningJobsBack) {
  start(1, until_stopped);
  const auto id = submit();
  wait_for(id, [](JobState state) { return state == JobState::running; });
  scheduler_->stop();
  EXPECT_EQ((*jobs_->job(id))->state, JobState::queued);
}

// A second server on the same database, which shares its jobs.
class AnotherServer {
 public:
  AnotherServer(std::unique_ptr<JobStore> jobs, Scheduler::Run run, Scheduler::Ability ability = {})
      : jobs_(std::move(jobs)),
        scheduler_(
            *jobs_, metrics_, hub_, 1, std::move(run), [](const std::string&) {}, std::move(ability)) {
    const auto status = scheduler_.start();
    EXPECT_TRUE(status) << status.error().message;
    shared_ = std::make_unique<SharedJobs>(*jobs_, scheduler_, hub_, [](const std::string&) {});
  }

  Scheduler& scheduler() { return scheduler_; }
  EventHub& hub() { return hub_; }

 private:
  std::unique_ptr<JobStore> jobs_;
  Metrics metrics_{1};
  EventHub hub_;
  Scheduler scheduler_;
  std::unique_ptr<SharedJobs> shared_;
};

class SharedJobsTest : public SchedulerTest {
 protected:
  void SetUp() override {
    if (!server_) GTEST_SKIP() << "a file has one server";
    SchedulerTest::SetUp();
  }
};

constexpr double kShort = 2;  // seconds of a lease, thrice as long as a server takes to look around

TEST_F(SharedJobsTest, AServerTakesUpWhatABusyOneAccepted) {
  std::atomic<bool> helped{false};
  jobs_ = open_another("busy", 3600);
  start(1, [&](const JobRequest&, int, const std::atomic<bool>&, const TrialListener&) {
    while (!helped) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return done();
  });
  AnotherServer helper(open_another("helper", kShort),
                       [&](const JobRequest&, int, const std::atomic<bool>&, const TrialListener&) {
                         helped = true;
                         return done();
                       });
  const auto first = submit(), second = submit();
  const Job ends[] = {wait_for(first), wait_for(second)};
  for (const Job& job : ends) EXPECT_EQ(job.starts, 1);
  EXPECT_NE(ends[0].holder, ends[1].holder);
}

TEST_F(SharedJobsTest, ASilentServersJobGoesToAnotherAndItsOwnWordIsRefused) {
  std::int64_t id = 0;
  std::atomic<bool> begun{false};
  Status told;
  start(1, [&](const JobRequest&, int, const std::atomic<bool>&, const TrialListener& on_trial) {
    begun = true;
    wait_for(id);  // no word meanwhile: nothing renews its lease of no time at all
    told = on_trial({.trial = ok_trial(5), .best_us = 5});
    return JobEnd{.state = JobState::done, .message = "", .result = {{"late", true}}, .interrupted = false};
  });
  id = submit();
  while (!begun) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  AnotherServer helper(open_another("helper", kShort), [](const JobRequest&, int, const std::atomic<bool>&,
                                                          const TrialListener&) { return done(); });
  EXPECT_EQ(wait_for(id).holder, "helper");
  scheduler_->stop();
  EXPECT_FALSE(told) << "the trial of who lost the job";
  const Job job = **jobs_->job(id);
  EXPECT_EQ(job.result, R"({"fine":true})");
  EXPECT_EQ(job.starts, 2);
  const auto events = jobs_->events(id, 0, 100);
  EXPECT_EQ(std::count_if(events->begin(), events->end(),
                          [](const JobEvent& event) { return event.detail == "done"; }),
            1);
}

TEST_F(SharedJobsTest, AServerThatIsHeardFromKeepsItsJobThroughManyLeases) {
  std::atomic<bool> begun{false}, over{false};
  AnotherServer keeper(open_another("keeper", kShort),
                       [&](const JobRequest&, int, const std::atomic<bool>& stop, const TrialListener&) {
                         begun = true;
                         while (!over && !stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                         return done();
                       });
  const auto id = submit();
  while (!begun) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto until = [&]() { return server_value("SELECT lease_until FROM jobs"); };
  for (double first = until(); until() < first + 2 * kShort;) {
    ASSERT_EQ(*jobs_->put_back_lost(), 0);
    ASSERT_EQ((*jobs_->job(id))->state, JobState::running);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  over = true;
  EXPECT_EQ(wait_for(id).starts, 1);
}

TEST_F(SharedJobsTest, AWorkersJobIsNotQueuedForAnotherByAnOldAnswer) {
  constexpr int kJobs = 60;
  jobs_ = open_another("one", 3600);
  std::atomic<int> runs{0};
  start(3, [&](const JobRequest&, int, const std::atomic<bool>&, const TrialListener&) {
    ++runs;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return done();
  });
  std::atomic<bool> over{false};
  std::thread looking([&] {
    while (!over) EXPECT_TRUE(scheduler_->look_around(true));
  });
  std::vector<std::int64_t> ids;
  for (int i = 0; i < kJobs; ++i) ids.push_back(submit());
  for (const auto id : ids) EXPECT_EQ(wait_for(id).starts, 1);
  over = true;
  looking.join();
  scheduler_->stop();
  EXPECT_EQ(runs, kJobs);
}

TEST_F(SharedJobsTest, AJobIsLeftToServersThatCanRunIt) {
  const auto submit_for = [&](const std::string& device) {
    Job job;
    job.kind = "tune";
    job.request = kRequest;
    job.client = "a";
    job.device = device;
    return jobs_->submit(job, {})->job.id;
  };
  const auto a100 = submit_for("A100"), h100 = submit_for("H100"), any = submit_for("");
  const auto run = [](const JobRequest&, int, const std::atomic<bool>&, const TrialListener&) {
    return done();
  };
  std::atomic<int> refused{0};
  AnotherServer unable(open_another("unable", kShort), run,
                       {.device = "H100", .check = [&](const JobRequest&) -> Status {
                          ++refused;
                          return fail("no recording of it");
                        }});
  while (refused < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ((*jobs_->job(h100))->starts, 0);
  AnotherServer able(open_another("able", kShort), run, {.device = "H100", .check = {}});
  for (const auto id : {h100, any}) EXPECT_EQ(wait_for(id).holder, "able");
  EXPECT_EQ((*jobs_->job(a100))->starts, 0) << "no server of its device is there";
  EXPECT_EQ(refused, 2) << "each is looked at once";
}

TEST_F(SharedJobsTest, AJobIsCancelledThroughAnyServer) {
  AnotherServer runner(open_another("runner", kShort), until_stopped);
  const auto id = submit();
  wait_for(id, [](JobState state) { return state == JobState::running; });
  start(0, until_stopped);
  ASSERT_TRUE(scheduler_->cancel(id, "from afar"));
  EXPECT_EQ(wait_for(id).state, JobState::cancelled);
  EXPECT_EQ(wait_for(id).message, "from afar");
}

TEST_F(SharedJobsTest, FollowersOfWhatRunsElsewhereAreWoken) {
  jobs_ = open_another("runner", 3600);
  const auto id = submit();
  const auto lease = jobs_->start(id);
  ASSERT_TRUE(lease && *lease);
  AnotherServer watcher(open_another("watcher", kShort), until_stopped);
  std::mutex mutex;
  std::condition_variable woken;
  int wakes = 0;
  const auto following = watcher.hub().subscribe(id, [&] {
    const std::lock_guard lock(mutex);
    ++wakes;
    woken.notify_all();
  });
  std::unique_lock lock(mutex);
  woken.wait(lock, [&] { return wakes > 0; });  // the first look
  const int before = wakes;
  lock.unlock();
  ASSERT_TRUE(jobs_->add_trial(**lease, 7, {}));
  lock.lock();
  woken.wait(lock, [&] { return wakes > before; });
}

TEST_F(SchedulerTest, CancellingWhatIsNotThereIsNothing) {
  start(1, until_stopped);
  const auto job = scheduler_->cancel(77, "");
  ASSERT_TRUE(job);
  EXPECT_FALSE(*job);
}

}  // namespace
}  // namespace attune::serve
