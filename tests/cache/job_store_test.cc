#include "cache/job_store.h"

#include <atomic>
#include <barrier>
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
  job.device = "H100";
  return job;
}

class JobStoreTest : public CacheTest {
 protected:
  void SetUp() override {
    CacheTest::SetUp();
    if (IsSkipped()) return;
    store_ = open();
    jobs_ = open_another();
  }

  // A server's; by default its leases are over at once.
  std::unique_ptr<JobStore> open_another(const std::string& holder = "first",
                                         double lease_seconds = 0) const {
    auto jobs = open_jobs(location(), {.holder = holder, .lease_seconds = lease_seconds});
    EXPECT_TRUE(jobs) << jobs.error().message;
    return jobs ? *std::move(jobs) : nullptr;
  }

  void sql(const std::string& text) const {
    if (server_) return TestServer::run_at(location(), text);
    run_sql(database(), text);
  }

  JobLease start(std::int64_t id) {
    const auto lease = jobs_->start(id);
    EXPECT_TRUE(lease && *lease);
    return lease && *lease ? **lease : JobLease();
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
  EXPECT_EQ(**open_another()->job(expected.id), expected);
  EXPECT_EQ(*open_another()->job(expected.id + 1), std::nullopt);
}

TEST_F(JobStoreTest, AJobGoesThroughItsStates) {
  const auto id = submit();
  const JobLease first = start(id);
  EXPECT_EQ(*jobs_->start(id), std::nullopt) << "one worker has it already";
  EXPECT_EQ(**jobs_->put_back(first), JobState::queued);
  EXPECT_EQ(state_of(id), JobState::queued);
  const JobLease second = start(id);
  EXPECT_TRUE(*jobs_->finish(second, JobState::done, "note", R"({"x":1})"));
  const Job job = **jobs_->job(id);
  EXPECT_EQ(job.state, JobState::done);
  EXPECT_EQ(job.result, R"({"x":1})");
  EXPECT_EQ(job.starts, 2);
  EXPECT_EQ(job.holder, "first");
  EXPECT_FALSE(job.ended_at.empty());
  EXPECT_THAT(states_of(id), ElementsAre("queued", "running", "queued", "running", "done"));
  // An end is for good.
  EXPECT_FALSE(*jobs_->finish(second, JobState::failed, "late", ""));
  EXPECT_EQ(*jobs_->put_back(second), std::nullopt);
  EXPECT_EQ(*jobs_->renew(second), std::nullopt);
  EXPECT_EQ(*jobs_->add_trial(second, 1, {}), JobStore::Addition::refused);
  ASSERT_TRUE(jobs_->cancel(id, "late"));
  EXPECT_EQ(**jobs_->job(id), job);
}

TEST_F(JobStoreTest, CancellingDependsOnWhereTheJobIs) {
  const auto waiting = submit(), running = submit();
  const JobLease lease = start(running);
  EXPECT_EQ((*jobs_->cancel(waiting, "no"))->state, JobState::cancelled);
  EXPECT_EQ((*open_another("second")->cancel(running, "no"))->state, JobState::cancelling);
  EXPECT_EQ(**jobs_->renew(lease), JobState::cancelling) << "whoever runs it hears of it";
  EXPECT_EQ(**jobs_->put_back(lease), JobState::cancelled);
  EXPECT_EQ(state_of(running), JobState::cancelled);
  EXPECT_EQ((*jobs_->job(running))->message, "no");
  EXPECT_EQ(*jobs_->cancel(99, "no"), std::nullopt);
}

TEST_F(JobStoreTest, WhatAServerLeftIsPutBack) {
  const auto running = submit(), cancelling = submit(), waiting = submit(), ended = submit();
  start(running);
  start(cancelling);
  const JobLease lease = start(ended);
  ASSERT_TRUE(jobs_->cancel(cancelling, "no"));
  ASSERT_TRUE(jobs_->finish(lease, JobState::failed, "why", ""));
  EXPECT_EQ(*open_another("second")->put_back_lost(), 2);
  EXPECT_EQ(state_of(running), JobState::queued);
  EXPECT_EQ((*jobs_->job(running))->holder, "");
  EXPECT_EQ(state_of(cancelling), JobState::cancelled);
  EXPECT_EQ((*jobs_->job(cancelling))->message, "no");
  EXPECT_EQ(state_of(waiting), JobState::queued);
  EXPECT_EQ(state_of(ended), JobState::failed);
  std::vector<std::int64_t> queued;
  const auto waiting_jobs = jobs_->queued();
  ASSERT_TRUE(waiting_jobs);
  for (const Job& job : *waiting_jobs) queued.push_back(job.id);
  EXPECT_THAT(queued, ElementsAre(running, waiting));
  EXPECT_EQ(*jobs_->put_back_lost(), 0);
}

TEST_F(JobStoreTest, AFormerHolderIsRefused) {
  const auto id = submit();
  const JobLease former = start(id);
  const auto second = open_another("second");
  ASSERT_EQ(*second->put_back_lost(), 1);
  const auto lease = second->start(id);
  ASSERT_TRUE(lease && *lease);
  EXPECT_EQ(*jobs_->renew(former), std::nullopt);
  EXPECT_EQ(*jobs_->add_trial(former, 1, 5), JobStore::Addition::refused);
  EXPECT_EQ(*jobs_->put_back(former), std::nullopt);
  EXPECT_FALSE(*jobs_->finish(former, JobState::done, "", "{}"));
  EXPECT_EQ(state_of(id), JobState::running);
  EXPECT_TRUE(*second->finish(**lease, JobState::done, "", "{}"));
  EXPECT_EQ((*jobs_->job(id))->holder, "second");
  EXPECT_THAT(states_of(id), ElementsAre("queued", "running", "queued", "running", "done"));
}

TEST_F(JobStoreTest, WhoseLeaseIsGoodKeepsItsJobs) {
  if (!server_) GTEST_SKIP() << "a file has one server: what runs there when it starts is nobody's";
  const auto id = submit();
  const auto lasting = open_another("lasting", 3600);
  const auto lease = lasting->start(id);
  ASSERT_TRUE(lease && *lease);
  EXPECT_EQ(*jobs_->put_back_lost(), 0);
  EXPECT_EQ(state_of(id), JobState::running);
  // Over, but nobody has taken it yet: a word in time makes it good again.
  sql("UPDATE jobs SET lease_until = 0");
  EXPECT_EQ(**lasting->renew(**lease), JobState::running);
  EXPECT_EQ(*jobs_->put_back_lost(), 0);
  sql("UPDATE jobs SET lease_until = 0");
  EXPECT_EQ(*lasting->add_trial(**lease, 1, {}), JobStore::Addition::added);
  EXPECT_EQ(*jobs_->put_back_lost(), 0) << "a trial is a word, too";
  sql("UPDATE jobs SET lease_until = 0");
  EXPECT_EQ(*jobs_->put_back_lost(), 1);
}

TEST_F(JobStoreTest, ServersThatReachForAJobAtOnceStartItOnce) {
  constexpr int kJobs = 40;
  for (int i = 0; i < kJobs; ++i) submit();
  std::atomic<int> started{0};
  std::vector<std::thread> servers;
  for (int i = 0; i < 3; ++i) {
    servers.emplace_back([&, i] {
      const auto own = open_another(std::to_string(i), 3600);
      for (int id = 1; id <= kJobs; ++id) {
        const auto lease = own->start(id);
        EXPECT_TRUE(lease) << lease.error().message;
        started += lease && *lease;
      }
    });
  }
  for (std::thread& server : servers) server.join();
  EXPECT_EQ(started, kJobs);
  for (int id = 1; id <= kJobs; ++id) EXPECT_EQ((*jobs_->job(id))->starts, 1);
}

TEST_F(JobStoreTest, EventsThatServersAppendAtOnceAreNumberedWithoutAGap) {
  constexpr int kJobs = 25, kTrials = 3;
  const auto running = open_another("running", 3600), other = open_another("other");
  std::vector<JobLease> leases;
  for (int i = 0; i < kJobs; ++i) leases.push_back(**running->start(submit()));
  std::barrier each_job(2);
  std::thread cancelling([&] {
    for (const JobLease& lease : leases) {
      each_job.arrive_and_wait();
      EXPECT_TRUE(other->cancel(lease.job, "no"));
    }
  });
  for (const JobLease& lease : leases) {
    each_job.arrive_and_wait();
    for (int trial = 1; trial <= kTrials; ++trial) {
      const auto added = running->add_trial(lease, trial, {});
      EXPECT_TRUE(added && *added == JobStore::Addition::added) << (added ? "" : added.error().message);
    }
  }
  cancelling.join();
  for (const JobLease& lease : leases) {
    std::vector<std::int64_t> seqs;
    const auto events = jobs_->events(lease.job, 0, 100);
    for (const JobEvent& event : *events) seqs.push_back(event.seq);
    EXPECT_THAT(seqs, ElementsAre(1, 2, 3, 4, 5, 6)) << "queued, running, cancelling, three trials";
  }
  EXPECT_EQ(jobs_->last_events({leases[0].job, 77})->at(leases[0].job), 6);
}

TEST_F(JobStoreTest, LimitsAndKeysHoldForServersTogether) {
  std::atomic<int> accepted{0}, full{0}, made{0}, repeated{0};
  std::vector<std::thread> servers;
  for (int i = 0; i < 4; ++i) {
    servers.emplace_back([&, i] {
      const auto own = open_another(std::to_string(i));
      for (int k = 0; k < 10; ++k) {
        const auto keyed = own->submit(a_job("keyed", std::to_string(k)), {});
        ASSERT_TRUE(keyed) << keyed.error().message;
        made += keyed->verdict == Submission::Verdict::accepted;
        repeated += keyed->verdict == Submission::Verdict::repeated;
        const auto limited = own->submit(a_job("limited"), {.queued_of_client = 15});
        ASSERT_TRUE(limited) << limited.error().message;
        accepted += limited->verdict == Submission::Verdict::accepted;
        full += limited->verdict == Submission::Verdict::client_full;
      }
    });
  }
  for (std::thread& server : servers) server.join();
  EXPECT_EQ(made, 10);
  EXPECT_EQ(repeated, 30);
  EXPECT_EQ(accepted, 15);
  EXPECT_EQ(full, 25);
}

TEST_F(JobStoreTest, AMessageMayHoldAnyByte) {
  const auto id = submit();
  const JobLease lease = start(id);
  const std::string message = "a compiler's \xff and \x01";
  ASSERT_TRUE(*jobs_->finish(lease, JobState::failed, message, ""));
  EXPECT_EQ((*jobs_->job(id))->message, message);
  EXPECT_EQ(jobs_->jobs({})->front().message, message);
}

TEST_F(JobStoreTest, AKeyIsOneJobOfItsClient) {
  const auto first = jobs_->submit(a_job("a", "k"), {});
  start(first->job.id);
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
  start(1);
  EXPECT_EQ(verdict("c"), Submission::Verdict::accepted);
}

// Whatever happens to jobs, by however many servers at once: the limits go by what is queued.
TEST_F(JobStoreTest, LimitsHoldAfterAllThatHappensToJobs) {
  std::vector<std::thread> servers;
  for (int i = 0; i < 4; ++i) {
    servers.emplace_back([&, i] {
      const auto own = open_another(std::to_string(i), i % 2 == 0 ? 3600 : 0);
      for (int k = 0; k < 12; ++k) {
        const auto submitted = own->submit(a_job(k % 2 == 0 ? "even" : "odd"), {});
        ASSERT_TRUE(submitted) << submitted.error().message;
        const auto lease = own->start(submitted->job.id);
        ASSERT_TRUE(lease) << lease.error().message;
        if (k % 3 == 0) {
          EXPECT_TRUE(own->cancel(submitted->job.id, "no"));
        }
        if (k % 4 == 0 && *lease) {
          EXPECT_TRUE(own->put_back(**lease));
        }
        if (k % 4 == 1 && *lease) {
          EXPECT_TRUE(own->finish(**lease, JobState::done, "", "{}"));
        }
        if (server_) {
          EXPECT_TRUE(own->put_back_lost());
        }
      }
    });
  }
  for (std::thread& server : servers) server.join();
  std::map<std::string, std::int64_t> queued;
  const auto waiting = jobs_->queued();
  ASSERT_TRUE(waiting);
  for (const Job& job : *waiting) ++queued[job.client];
  ASSERT_GT(queued["even"], 0) << "else this shows nothing";
  const auto verdict = [&](const std::string& client, const JobLimits& limits) {
    return jobs_->submit(a_job(client), limits)->verdict;
  };
  const auto all = static_cast<std::int64_t>(waiting->size());
  EXPECT_EQ(verdict("even", {.queued_of_client = queued["even"]}), Submission::Verdict::client_full);
  EXPECT_EQ(verdict("c", {.queued = all}), Submission::Verdict::server_full);
  EXPECT_EQ(verdict("even", {.queued = all + 1, .queued_of_client = queued["even"] + 1}),
            Submission::Verdict::accepted);
}

// In one statement, and by none of ours: a transaction that is undone counts nothing.
TEST_F(JobStoreTest, WhatIsUndoneIsNotCounted) {
  submit(a_job("a"));
  submit(a_job("b"));
  sql("BEGIN; UPDATE jobs SET state = 'running'; DELETE FROM job_events; DELETE FROM jobs WHERE id = 1; "
      "ROLLBACK");
  EXPECT_EQ(jobs_->submit(a_job("c"), {.queued = 2})->verdict, Submission::Verdict::server_full);
  sql("UPDATE jobs SET state = 'running'");
  EXPECT_EQ(jobs_->submit(a_job("c"), {.queued = 1})->verdict, Submission::Verdict::accepted);
  EXPECT_EQ(jobs_->submit(a_job("c"), {.queued = 1})->verdict, Submission::Verdict::server_full);
}

TEST_F(JobStoreTest, EventsHaveTheirTrialsOnceAndInOrder) {
  const auto id = submit(), other = submit();
  const JobLease lease = start(id), others = start(other);
  std::vector<Trial> trials{ok_trial(5, 1), failed_trial(Outcome::spilled, 2), ok_trial(4, 3)};
  for (Trial& trial : trials) {
    ASSERT_TRUE(store_->add(trial));
    EXPECT_EQ(*jobs_->add_trial(lease, trial.id, 5), JobStore::Addition::added);
    EXPECT_EQ(*jobs_->add_trial(lease, trial.id, 5), JobStore::Addition::known);
  }
  EXPECT_EQ(*jobs_->add_trial(others, trials[0].id, {}), JobStore::Addition::added)
      << "a trial may be part of two jobs";
  const auto events = jobs_->events(id, 0, 100);
  ASSERT_TRUE(events) << events.error().message;
  ASSERT_EQ(events->size(), 5U);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ((*events)[i].seq, static_cast<std::int64_t>(i) + 1);
  EXPECT_EQ((*events)[3].trial, trials[1]);
  EXPECT_EQ((*events)[3].best_us, 5);
  EXPECT_EQ(jobs_->events(id, 3, 1)->front().trial, trials[1]);
  EXPECT_EQ(jobs_->events(id, 0, 100, true)->size(), 3U);
  EXPECT_TRUE(jobs_->events(id, 5, 100)->empty());
}

TEST_F(JobStoreTest, ATrialThatWasDeletedLeavesItsEvent) {
  const auto id = submit();
  Trial trial = ok_trial(5);
  ASSERT_TRUE(store_->add(trial));
  ASSERT_EQ(*jobs_->add_trial(start(id), trial.id, 5), JobStore::Addition::added);
  sql("DELETE FROM trials");
  const auto events = jobs_->events(id, 2, 10);
  ASSERT_TRUE(events);
  EXPECT_EQ(events->front().trial_id, trial.id);
  EXPECT_EQ(events->front().trial, std::nullopt);
}

TEST_F(JobStoreTest, ListsAreFilteredAndPaged) {
  for (int i = 0; i < 5; ++i) submit(a_job(i % 2 == 0 ? "even" : "odd"));
  start(3);
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

TEST_F(JobStoreTest, AJobThatNoServerCanRunSaysWhy) {
  if (!server_) GTEST_SKIP() << "a file has one server";
  const auto id = submit(), other = submit();  // for an H100
  const auto why = [&](std::int64_t job) {
    const auto found = jobs_->stranded({id, other});
    EXPECT_TRUE(found) << found.error().message;
    return found && found->contains(job) ? found->at(job) : "";
  };
  EXPECT_EQ(why(id), "waits for a server of its device (H100): none is there");
  const auto first = open_another("first"), second = open_another("second"), third = open_another("third");
  ASSERT_TRUE(third->present("A100", 3600));
  EXPECT_THAT(why(id), HasSubstr("none is there"));
  ASSERT_TRUE(first->present("H100", 3600));
  ASSERT_TRUE(second->present("H100", 3600));
  EXPECT_EQ(why(id), "") << "who has not looked yet may run it";
  ASSERT_TRUE(first->decline(id, "no recording\xff"));
  ASSERT_TRUE(third->decline(id, "an A100 is none"));
  EXPECT_EQ(why(id), "") << "the second may";
  ASSERT_TRUE(second->decline(id, "at first"));
  ASSERT_TRUE(second->decline(id, "no model"));
  EXPECT_EQ(why(id), "no server that is there can run it: first: no recording\xff; second: no model");
  EXPECT_EQ(why(other), "");
  // One that is gone, or began anew, has no say.
  ASSERT_TRUE(second->present("H100", -1));
  EXPECT_EQ(why(id), "no server that is there can run it: first: no recording\xff");
  ASSERT_TRUE(open_another("first")->present("H100", 3600));
  EXPECT_EQ(why(id), "");
  ASSERT_TRUE(first->present("H100", -1));
  EXPECT_THAT(why(other), HasSubstr("none is there"));
  start(other);
  EXPECT_EQ(why(other), "") << "it runs";
}

TEST_F(JobStoreTest, ADatabaseThatIsGoneIsSaid) {
  if (server_) GTEST_SKIP() << "of a file";
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
