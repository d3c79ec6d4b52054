// The workers over a real job store, with jobs that do what the test says.
#include "serve/scheduler.h"

#include <gmock/gmock.h>

#include <condition_variable>
#include <filesystem>

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
    open();  // makes the tables
    auto jobs = open_sqlite_jobs(database());
    ASSERT_TRUE(jobs) << jobs.error().message;
    jobs_ = *std::move(jobs);
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
  ASSERT_TRUE(*jobs_->start(left));
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

TEST_F(SchedulerTest, CancellingWhatIsNotThereIsNothing) {
  start(1, until_stopped);
  const auto job = scheduler_->cancel(77, "");
  ASSERT_TRUE(job);
  EXPECT_FALSE(*job);
}

}  // namespace
}  // namespace attune::serve
