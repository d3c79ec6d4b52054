#include "cache/job_store.h"

#include <thread>

#include "tests/cache/cache_fixture.h"

namespace attune {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Job a_job(const std::string& client = "a", const std::string& key = "") {
  Job job;
  job.kind = "tune";
  job.request = R"({"max_trials":8})";
  job.client = client;
  job.priority = 3;
  job.idempotency_key = key;
  return job;
}

class JobStoreTest : public CacheTest {
 protected:
  void SetUp() override {
    store_ = open();
    jobs_ = open_jobs();
  }

  std::unique_ptr<JobStore> open_jobs() const {
    auto jobs = open_sqlite_jobs(database());
    EXPECT_TRUE(jobs) << jobs.error().message;
    return jobs ? *std::move(jobs) : nullptr;
  }

  std::int64_t submit(const Job& job = a_job()) {
    const auto submission = jobs_->submit(job, {});
    EXPECT_TRUE(submission && submission->verdict == Submission::Verdict::accepted);
    return submission->job.id;
  }

  JobState state_of(std::int64_t id) const { return (*jobs_->job(id))->state; }

  std::vector<std::string> states_of(std::int64_t id) const {
    std::vector<std::string> states;
    const auto events = jobs_->events(id, 0, 100);
    EXPECT_TRUE(events);
    for (const JobEvent& event : *events) {
      if (event.kind == "state") states.push_back(event.detail);
    }
    return states;
  }

  std::unique_ptr<TrialStore> store_;
  std::unique_ptr<JobStore> jobs_;
};

TEST_F(JobStoreTest, AJobIsKeptAsItWasSubmitted) {
  const auto submission = jobs_->submit(a_job("alice", "k"), {});
  ASSERT_TRUE(submission);
  Job expected = a_job("alice", "k");
  expected.id = submission->job.id;
  expected.created_at = submission->job.created_at;
  EXPECT_FALSE(expected.created_at.empty());
  EXPECT_EQ(submission->job, expected);
  jobs_.reset();
  EXPECT_EQ(**open_jobs()->job(expected.id), expected);
  EXPECT_EQ(*open_jobs()->job(expected.id + 1), std::nullopt);
}

TEST_F(JobStoreTest, AJobGoesThroughItsStates) {
  const auto id = submit();
  EXPECT_TRUE(*jobs_->start(id));
  EXPECT_FALSE(*jobs_->start(id)) << "one worker has it already";
  ASSERT_TRUE(jobs_->put_back(id));
  EXPECT_EQ(state_of(id), JobState::queued);
  EXPECT_TRUE(*jobs_->start(id));
  ASSERT_TRUE(jobs_->finish(id, JobState::done, "note", R"({"x":1})"));
  const Job job = **jobs_->job(id);
  EXPECT_EQ(job.state, JobState::done);
  EXPECT_EQ(job.result, R"({"x":1})");
  EXPECT_EQ(job.starts, 2);
  EXPECT_FALSE(job.ended_at.empty());
  EXPECT_THAT(states_of(id), ElementsAre("queued", "running", "queued", "running", "done"));
  // An end is for good.
  ASSERT_TRUE(jobs_->finish(id, JobState::failed, "late", ""));
  ASSERT_TRUE(jobs_->put_back(id));
  ASSERT_TRUE(jobs_->cancel(id, "late"));
  EXPECT_EQ(**jobs_->job(id), job);
}

TEST_F(JobStoreTest, CancellingDependsOnWhereTheJobIs) {
  const auto waiting = submit(), running = submit();
  ASSERT_TRUE(*jobs_->start(running));
  EXPECT_EQ((*jobs_->cancel(waiting, "no"))->state, JobState::cancelled);
  EXPECT_EQ((*jobs_->cancel(running, "no"))->state, JobState::cancelling);
  ASSERT_TRUE(jobs_->put_back(running));
  EXPECT_EQ(state_of(running), JobState::cancelled);
  EXPECT_EQ((*jobs_->job(running))->message, "no");
  EXPECT_EQ(*jobs_->cancel(99, "no"), std::nullopt);
}

TEST_F(JobStoreTest, WhatAServerLeftIsPutBack) {
  const auto running = submit(), cancelling = submit(), waiting = submit(), ended = submit();
  ASSERT_TRUE(*jobs_->start(running) && *jobs_->start(cancelling) && *jobs_->start(ended));
  ASSERT_TRUE(jobs_->cancel(cancelling, "no"));
  ASSERT_TRUE(jobs_->finish(ended, JobState::failed, "why", ""));
  EXPECT_EQ(*jobs_->put_back_all(), 2);
  EXPECT_EQ(state_of(running), JobState::queued);
  EXPECT_EQ(state_of(cancelling), JobState::cancelled);
  EXPECT_EQ(state_of(waiting), JobState::queued);
  EXPECT_EQ(state_of(ended), JobState::failed);
  std::vector<std::int64_t> queued;
  const auto waiting_jobs = jobs_->queued();
  ASSERT_TRUE(waiting_jobs);
  for (const Job& job : *waiting_jobs) queued.push_back(job.id);
  EXPECT_THAT(queued, ElementsAre(running, waiting));
}

TEST_F(JobStoreTest, AKeyIsOneJobOfItsClient) {
  const auto first = jobs_->submit(a_job("a", "k"), {});
  ASSERT_TRUE(*jobs_->start(first->job.id));
  const auto again = jobs_->submit(a_job("a", "k"), {.queued = 1, .queued_of_client = 1});
  EXPECT_EQ(again->verdict, Submission::Verdict::repeated);
  EXPECT_EQ(again->job.id, first->job.id);
  EXPECT_EQ(again->job.state, JobState::running) << "as it stands now";
  Job other = a_job("a", "k");
  other.request = "{}";
  EXPECT_EQ(jobs_->submit(other, {})->verdict, Submission::Verdict::key_reused);
  EXPECT_EQ(jobs_->submit(a_job("b", "k"), {})->verdict, Submission::Verdict::accepted);
  EXPECT_EQ(jobs_->submit(a_job("a", ""), {})->verdict, Submission::Verdict::accepted);
  EXPECT_EQ(jobs_->submit(a_job("a", ""), {})->verdict, Submission::Verdict::accepted);
}

TEST_F(JobStoreTest, LimitsCountWhatIsQueued) {
  const JobLimits limits{.queued = 3, .queued_of_client = 2};
  const auto verdict = [&](const std::string& client) {
    return jobs_->submit(a_job(client), limits)->verdict;
  };
  EXPECT_EQ(verdict("a"), Submission::Verdict::accepted);
  EXPECT_EQ(verdict("a"), Submission::Verdict::accepted);
  EXPECT_EQ(verdict("a"), Submission::Verdict::client_full);
  EXPECT_EQ(verdict("b"), Submission::Verdict::accepted);
  EXPECT_EQ(verdict("c"), Submission::Verdict::server_full);
  ASSERT_TRUE(*jobs_->start(1));
  EXPECT_EQ(verdict("c"), Submission::Verdict::accepted);
}

TEST_F(JobStoreTest, EventsHaveTheirTrialsOnceAndInOrder) {
  const auto id = submit(), other = submit();
  std::vector<Trial> trials{ok_trial(5, 1), failed_trial(Outcome::spilled, 2), ok_trial(4, 3)};
  for (Trial& trial : trials) {
    ASSERT_TRUE(store_->add(trial));
    EXPECT_TRUE(*jobs_->add_trial(id, trial.id, 5));
    EXPECT_FALSE(*jobs_->add_trial(id, trial.id, 5));
  }
  EXPECT_TRUE(*jobs_->add_trial(other, trials[0].id, {})) << "a trial may be part of two jobs";
  const auto events = jobs_->events(id, 0, 100);
  ASSERT_TRUE(events) << events.error().message;
  ASSERT_EQ(events->size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ((*events)[i].seq, static_cast<std::int64_t>(i) + 1);
  EXPECT_EQ((*events)[2].trial, trials[1]);
  EXPECT_EQ((*events)[2].best_us, 5);
  EXPECT_EQ(jobs_->events(id, 2, 1)->front().trial, trials[1]);
  EXPECT_EQ(jobs_->events(id, 0, 100, true)->size(), 3U);
  EXPECT_TRUE(jobs_->events(id, 4, 100)->empty());
}

TEST_F(JobStoreTest, ATrialThatWasDeletedLeavesItsEvent) {
  const auto id = submit();
  Trial trial = ok_trial(5);
  ASSERT_TRUE(store_->add(trial));
  ASSERT_TRUE(*jobs_->add_trial(id, trial.id, 5));
  run_sql(database(), "DELETE FROM trials");
  const auto events = jobs_->events(id, 1, 10);
  ASSERT_TRUE(events);
  EXPECT_EQ(events->front().trial_id, trial.id);
  EXPECT_EQ(events->front().trial, std::nullopt);
}

TEST_F(JobStoreTest, ListsAreFilteredAndPaged) {
  for (int i = 0; i < 5; ++i) submit(a_job(i % 2 == 0 ? "even" : "odd"));
  ASSERT_TRUE(*jobs_->start(3));
  const auto ids = [&](const JobFilter& filter) {
    std::vector<std::int64_t> found;
    const auto jobs = jobs_->jobs(filter);
    EXPECT_TRUE(jobs);
    for (const Job& job : *jobs) found.push_back(job.id);
    return found;
  };
  EXPECT_THAT(ids({}), ElementsAre(5, 4, 3, 2, 1));
  EXPECT_THAT(ids({.client = "even", .limit = 2}), ElementsAre(5, 3));
  EXPECT_THAT(ids({.client = "even", .before = 3}), ElementsAre(1));
  EXPECT_THAT(ids({.state = JobState::running}), ElementsAre(3));
  EXPECT_EQ(jobs_->counts()->at(JobState::queued), 4);
}

TEST_F(JobStoreTest, ManyThreadsAtOnceLoseNothing) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 25; ++k) {
        EXPECT_TRUE(jobs_->submit(a_job(std::to_string(i)), {}));
        Trial trial = ok_trial(1 + i, 100 * i + k);
        EXPECT_TRUE(store_->add(trial));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(jobs_->counts()->at(JobState::queued), 100);
}

TEST_F(JobStoreTest, ADatabaseThatIsGoneIsSaid) {
  std::filesystem::remove(database());
  const auto submission = jobs_->submit(a_job(), {});
  ASSERT_FALSE(submission);
  EXPECT_THAT(submission.error().message, HasSubstr("was deleted or replaced"));
}

TEST(JobState, NamesAreReadBack) {
  for (const JobState state : {JobState::queued, JobState::running, JobState::cancelling, JobState::done,
                               JobState::failed, JobState::cancelled})
    EXPECT_EQ(*parse_job_state(to_string(state)), state);
  EXPECT_FALSE(parse_job_state("sleeping"));
}

}  // namespace
}  // namespace attune
