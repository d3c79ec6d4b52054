// Jobs: submit, list, state, events, trials, cancel.
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>

#include "serve/api.h"
#include "serve/job_events.h"
#include "serve/job_request.h"

namespace attune::serve {
namespace {

using nlohmann::json;

constexpr std::size_t kMostJobBytes = 1 << 20;
constexpr std::size_t kMostKeyBytes = 128;
constexpr std::int64_t kMostListed = 1000;

bool is_json(const Request& request) {
  return header(request.headers, "Content-Type").starts_with("application/json");
}

bool is_idempotency_key(std::string_view key) {
  if (key.size() > kMostKeyBytes) return false;
  for (const char c : key) {
    if (c < '!' || c > '~') return false;
  }
  return true;
}

Response full(Service& service, std::string_view who) {
  service.metrics().count_refusal("queue_full");
  Response response = error_response(429, fmt::format("too many jobs {} are queued; try again later", who));
  response.headers.emplace_back(
      "Retry-After", std::to_string(std::lround(std::ceil(service.scheduler().seconds_until_room()))));
  return response;
}

Response submitted(Service& service, const Submission& submission) {
  const Job& job = submission.job;
  switch (submission.verdict) {
    case Submission::Verdict::key_reused:
      return error_response(
          409, fmt::format("this Idempotency-Key stands for job {}, which asks for something else", job.id));
    case Submission::Verdict::client_full:
      return full(service, "of this client");
    case Submission::Verdict::server_full:
      return full(service, "of all clients");
    case Submission::Verdict::repeated:
    case Submission::Verdict::accepted:
      break;
  }
  const bool repeated = submission.verdict == Submission::Verdict::repeated;
  Response response = json_response(repeated ? 200 : 201, job_json(job, true));
  response.headers.emplace_back("Location", fmt::format("/v1/jobs/{}", job.id));
  return response;
}

void submit_job(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  if (!is_json(request)) return respond(error_response(415, "Content-Type must be application/json"));
  const std::string key(header(request.headers, "Idempotency-Key"));
  if (!is_idempotency_key(key))
    return respond(error_response(
        400, fmt::format("Idempotency-Key must be up to {} printable characters", kMostKeyBytes)));
  auto asked = parse_job_request(request.body);
  if (!asked) return respond(error_response(400, asked.error().message));
  if (const auto status =
          check_job(*asked, service.devices(), static_cast<bool>(service.options().open_chat));
      !status)
    return respond(error_response(422, status.error().message));
  Job job;
  job.kind = asked->kind == JobKind::tune ? "tune" : "sweep";
  job.request = to_json(*asked).dump();
  job.client = request.client;
  job.priority = asked->priority;
  job.idempotency_key = key;
  job.device = service.device_name();
  // A commit may wait for the disk.
  const bool taken = service.tasks().submit([&service, job = std::move(job), respond] {
    const auto submission = service.jobs().submit(job, service.options().limits);
    if (!submission) return respond(unavailable(submission.error()));
    if (submission->verdict == Submission::Verdict::accepted) service.scheduler().added(submission->job);
    respond(submitted(service, *submission));
  });
  if (!taken) respond(full(service, "at once"));
}

// The job that a path names, or what to answer.
Result<Job> named_job(Service& service, const std::string& text, Response& refusal) {
  const auto id = whole_number(text);
  const auto job = id ? service.jobs().job(*id) : Result<std::optional<Job>>(std::optional<Job>());
  if (!job) {
    refusal = unavailable(job.error());
    return job.error();
  }
  if (*job) return **job;
  refusal = error_response(404, fmt::format("there is no job {}", text));
  return fail("unknown");
}

// What jobs say that wait though no server can run them. No word of it is no reason to refuse an answer.
void explain(Service& service, std::span<Job> jobs) {
  std::vector<std::int64_t> queued;
  for (const Job& job : jobs) {
    if (job.state == JobState::queued) queued.push_back(job.id);
  }
  const auto stranded = service.jobs().stranded(queued);
  if (!stranded) return;
  for (Job& job : jobs) {
    if (const auto found = stranded->find(job.id); found != stranded->end()) job.message = found->second;
  }
}

void list_jobs(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  JobFilter filter;
  if (const auto state = request.query.find("state"); state != request.query.end()) {
    const auto parsed = parse_job_state(state->second);
    if (!parsed) return respond(error_response(400, parsed.error().message));
    filter.state = *parsed;
  }
  if (const auto client = request.query.find("client"); client != request.query.end())
    filter.client = client->second;
  const auto limit = query_number(request, "limit", 100, 1, kMostListed);
  const auto before = query_number(request, "before", 0, 0, INT64_MAX);
  if (!limit || !before) return respond(error_response(400, (limit ? before : limit).error().message));
  filter.limit = *limit;
  filter.before = *before;
  auto jobs = service.jobs().jobs(filter);
  if (!jobs) return respond(unavailable(jobs.error()));
  explain(service, *jobs);
  json list = json::array();
  for (const Job& job : *jobs) list.push_back(job_json(job, false));
  const bool more = static_cast<std::int64_t>(jobs->size()) == *limit;
  respond(json_response(200,
                        {{"jobs", std::move(list)}, {"next_before", more ? json(jobs->back().id) : json()}}));
}

void show_job(Service& service, Request /*request*/, const Segments& segments, Respond respond) {
  Response refusal;
  auto job = named_job(service, segments.front(), refusal);
  if (!job) return respond(std::move(refusal));
  explain(service, {&*job, 1});
  respond(json_response(200, job_json(*job, true)));
}

void cancel_job(Service& service, Request request, const Segments& segments, Respond respond) {
  Response refusal;
  const auto job = named_job(service, segments.front(), refusal);
  if (!job) return respond(std::move(refusal));
  const bool taken = service.tasks().submit([&service, id = job->id, client = request.client, respond] {
    const auto now = service.scheduler().cancel(id, "cancelled by " + client);
    if (!now) return respond(unavailable(now.error()));
    respond(json_response(200, job_json(**now, true)));
  });
  if (!taken) respond(full(service, "at once"));
}

void follow_job(Service& service, Request request, const Segments& segments, Respond respond) {
  Response refusal;
  const auto job = named_job(service, segments.front(), refusal);
  if (!job) return respond(std::move(refusal));
  std::string_view last = header(request.headers, "Last-Event-ID");
  if (const auto asked = request.query.find("after"); last.empty() && asked != request.query.end())
    last = asked->second;
  const auto seq = last.empty() ? std::optional<std::int64_t>(0) : whole_number(last);
  if (!seq || *seq < 0)
    return respond(error_response(400, "Last-Event-ID must be the id of an event of this job"));
  Response response;
  response.content_type = "text/event-stream";
  response.headers.emplace_back("Cache-Control", "no-store");
  response.headers.emplace_back("X-Accel-Buffering",
                                "no");  // a proxy in front must pass events on as they come
  response.stream = job_event_stream(service.jobs(), service.hub(), job->id, *seq);
  respond(std::move(response));
}

void list_trials(Service& service, Request request, const Segments& segments, Respond respond) {
  Response refusal;
  const auto job = named_job(service, segments.front(), refusal);
  if (!job) return respond(std::move(refusal));
  const auto after = query_number(request, "after", 0, 0, INT64_MAX);
  const auto limit = query_number(request, "limit", 500, 1, kMostListed);
  if (!after || !limit) return respond(error_response(400, (after ? limit : after).error().message));
  const bool taken =
      service.tasks().submit([&service, id = job->id, after = *after, limit = *limit, respond] {
        const auto events = service.jobs().events(id, after, limit, true);
        if (!events) return respond(unavailable(events.error()));
        json list = json::array();
        for (const JobEvent& event : *events) list.push_back(job_trial_json(event));
        const bool more = static_cast<std::int64_t>(events->size()) == limit;
        respond(json_response(
            200, {{"trials", std::move(list)}, {"next_after", more ? json(events->back().seq) : json()}}));
      });
  if (!taken) respond(full(service, "at once"));
}

constexpr std::array kJobRoutes{
    Route{"POST", "/v1/jobs", kMostJobBytes, false, submit_job},
    Route{"GET", "/v1/jobs", 0, false, list_jobs},
    Route{"GET", "/v1/jobs/{id}", 0, false, show_job},
    Route{"POST", "/v1/jobs/{id}/cancel", 1024, false, cancel_job},
    Route{"GET", "/v1/jobs/{id}/events", 0, false, follow_job},
    Route{"GET", "/v1/jobs/{id}/trials", 0, false, list_trials},
};

}  // namespace

std::span<const Route> job_routes() {
  return kJobRoutes;
}

}  // namespace attune::serve
