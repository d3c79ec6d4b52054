#include "serve/job_events.h"

#include <atomic>
#include <nlohmann/json.hpp>

#include "cache/trial_json.h"

namespace attune::serve {
namespace {

using nlohmann::json;

constexpr std::int64_t kEventsAtOnce = 200;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

class JobEventStream final : public Stream {
 public:
  JobEventStream(JobStore& jobs, EventHub& hub, std::int64_t job, std::int64_t seq)
      : jobs_(jobs), hub_(hub), job_(job), seq_(seq) {}

  // Asks the database only after a wake-up, and again as long as there was something: a database on another
  // machine may keep it waiting.
  std::string next() override {
    if (ended_ || !news_->exchange(false)) return "";
    const auto events = jobs_.events(job_, seq_, kEventsAtOnce);
    std::string text;
    if (!events) {  // the client tries again from where it was
      ended_ = true;
      return "event: error\ndata: " + dump({{"error", events.error().message}}) + "\n\n";
    }
    for (const JobEvent& event : *events) {
      seq_ = event.seq;
      json data;
      if (event.kind == "state") {
        data = {{"job", job_}, {"state", event.detail}, {"at", event.at}};
        const auto state = parse_job_state(event.detail);
        if (state && has_ended(*state)) ended_ = true;
      } else {
        data = job_trial_json(event);
        data["job"] = job_;
      }
      text += fmt::format("id: {}\nevent: {}\ndata: {}\n\n", event.seq, event.kind, dump(data));
    }
    if (!text.empty()) *news_ = true;
    if (text.empty() && is_over()) ended_ = true;
    return text;
  }

  bool ended() const override { return ended_; }

  void listen(std::function<void()> wake) override {
    subscription_ = hub_.subscribe(job_, [news = news_, wake = std::move(wake)] {
      *news = true;
      wake();
    });
  }

 private:
  // Asked for events after the last one of a job that has ended.
  bool is_over() const {
    const auto job = jobs_.job(job_);
    return job && *job && has_ended((*job)->state);
  }

  JobStore& jobs_;
  EventHub& hub_;
  const std::int64_t job_;
  std::int64_t seq_;
  bool ended_ = false;
  // Shared with wake-ups, which may end after this.
  const std::shared_ptr<std::atomic<bool>> news_ = std::make_shared<std::atomic<bool>>(true);
  std::unique_ptr<EventHub::Subscription> subscription_;
};

json or_null(const std::string& text) {
  return text.empty() ? json() : json(text);
}

}  // namespace

json job_json(const Job& job, bool whole) {
  json object = {{"id", job.id},
                 {"kind", job.kind},
                 {"client", job.client},
                 {"priority", job.priority},
                 {"state", to_string(job.state)},
                 {"message", job.message},
                 {"starts", job.starts},
                 {"device", or_null(job.device)},
                 {"server", or_null(job.holder)},
                 {"created_at", job.created_at},
                 {"started_at", or_null(job.started_at)},
                 {"ended_at", or_null(job.ended_at)},
                 {"request", job.request.empty() ? json() : json::parse(job.request, nullptr, false)}};
  if (whole) object["result"] = job.result.empty() ? json() : json::parse(job.result, nullptr, false);
  return object;
}

json job_trial_json(const JobEvent& event) {
  json object = {{"seq", event.seq},
                 {"best_us", event.best_us ? json(*event.best_us) : json()},
                 {"at", event.at},
                 {"trial", nullptr}};
  if (!event.trial) return object;
  json trial = to_json(*event.trial);
  trial["id"] = event.trial->id;
  trial["device"] = event.trial->device.name;
  object["trial"] = std::move(trial);
  return object;
}

std::shared_ptr<Stream> job_event_stream(JobStore& jobs, EventHub& hub, std::int64_t job, std::int64_t seq) {
  return std::make_shared<JobEventStream>(jobs, hub, job, seq);
}

}  // namespace attune::serve
