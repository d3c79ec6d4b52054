// A job of a server, submitted and watched from the command line.
#include <chrono>
#include <random>
#include <thread>

#include "autotuner/llm/http.h"
#include "base/json_text.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/remote.h"
#include "cli/text.h"
#include "templates/attention_template.h"

namespace attune::cli {
namespace {

using nlohmann::json;

constexpr auto kPause = std::chrono::milliseconds(500);  // before a server that went away is asked again
constexpr double kSilentSeconds = 60;                    // it says something every 15

// One key a call of the command: sent again after a lost answer it makes no second job.
std::string new_key() {
  std::random_device entropy;
  return fmt::format("cli-{:08x}{:08x}", entropy(), entropy());
}

// What is shown of a job while it runs.
class Watch {
 public:
  explicit Watch(const json& request) {
    const int columns = terminal_columns(stderr);
    goal_.max_trials = request.value("max_trials", std::int64_t{0});
    goal_.max_seconds = request.value("max_seconds", 0.0);
    if (request.contains("workload")) goal_ = {};  // of each shape, not of all
    line_.emplace(stderr, columns > 0, columns);
  }

  // One event of the stream.
  void tell(std::int64_t id, const std::string& kind, const json& data) {
    last_id_ = id;
    if (kind == "state") {
      const std::string state = data.value("state", "");
      if (state == "running") begin_ = Clock::now();
      ended_ = state == "done" || state == "failed" || state == "cancelled";
      return;
    }
    if (kind != "trial") return;
    ++progress_.trials;
    progress_.elapsed_seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    if (data["best_us"].is_number()) progress_.best_us = data["best_us"].get<double>();
    const auto& trial = data["trial"];
    if (progress_.best_us && trial.is_object()) {
      if (const auto shape = shape_from_json(trial["shape"]))
        progress_.best_tflops = attention_flops(*shape) / *progress_.best_us * 1e-6;
    }
    line_->update(progress_line(progress_, goal_), progress_.elapsed_seconds);
  }

  void finish() { line_->finish(); }
  std::int64_t last_id() const { return last_id_; }
  bool ended() const { return ended_; }

 private:
  using Clock = std::chrono::steady_clock;
  ProgressGoal goal_;
  TuneProgress progress_;
  Clock::time_point begin_ = Clock::now();
  std::optional<LiveLine> line_;
  std::int64_t last_id_ = 0;
  bool ended_ = false;
};

// The lines of an event stream, put together to events.
class EventReader {
 public:
  explicit EventReader(Watch& watch) : watch_(watch) {}

  void take(std::string_view bytes) {
    rest_ += bytes;
    for (std::size_t end; (end = rest_.find('\n')) != std::string::npos; rest_.erase(0, end + 1))
      line(std::string_view(rest_).substr(0, end));
  }

 private:
  void line(std::string_view text) {
    if (text.empty()) return dispatch();
    if (text.starts_with("id: ")) id_ = std::strtoll(std::string(text.substr(4)).c_str(), nullptr, 10);
    if (text.starts_with("event: ")) kind_ = text.substr(7);
    if (text.starts_with("data: ")) data_ = text.substr(6);
  }
  void dispatch() {
    const json data = parse_outside_json(data_);
    if (data.is_object()) watch_.tell(id_, kind_, data);
    kind_ = data_ = "";
  }

  Watch& watch_;
  std::string rest_;
  std::int64_t id_ = 0;
  std::string kind_;
  std::string data_;
};

// Until the job has ended, or the user has had enough.
void follow(const Remote& remote, std::int64_t id, Watch& watch, const std::atomic<bool>& stop) {
  while (!watch.ended() && !stop.load()) {
    EventReader reader(watch);
    HttpRequest request;
    request.url = fmt::format("{}/v1/jobs/{}/events", remote.url, id);
    request.bearer = remote.token;
    if (watch.last_id() > 0) request.headers.push_back(fmt::format("Last-Event-ID: {}", watch.last_id()));
    request.timeout_seconds = kSilentSeconds;
    request.on_data = [&](std::string_view bytes) {
      reader.take(bytes);
      return !stop.load();
    };
    (void)http_exchange(request);  // however it ended: the job's state says whether there is more
    if (!watch.ended() && !stop.load()) std::this_thread::sleep_for(kPause);
  }
}

void print_tuned(const json& job) {
  const json& result = job["result"];
  std::vector<std::vector<std::string>> rows{
      {"job", fmt::format("{} ({})", job["id"].get<std::int64_t>(), job["state"].get<std::string>())}};
  if (const auto shape = shape_from_json(result.value("shape", json())))
    rows.push_back({"shape", to_string(*shape)});
  if (result.contains("device")) {
    const bool replayed = result.value("replayed", false);
    rows.push_back(
        {"device", result["device"].value("name", "") + (replayed ? ", REPLAYED from a recording" : "")});
  }
  if (result.contains("template")) rows.push_back({"template", result["template"].get<std::string>()});
  if (result.contains("median_us")) {
    std::string best = fmt::format("{}, {} TFLOP/s", milliseconds(result["median_us"].get<double>()),
                                   significant(result["tflops"].get<double>()));
    if (result.contains("speedup_over_default"))
      best += fmt::format(", {}x the template's default",
                          significant(result["speedup_over_default"].get<double>()));
    rows.push_back({"best", best});
    rows.push_back({"config", result["config"].dump()});
  }
  if (result.contains("trials")) {
    const auto trials = result["trials"].get<std::int64_t>();
    const bool swept = result.contains("shapes");
    rows.push_back(
        {"trials", swept ? fmt::format("{} of {} shapes", trials, result["shapes"].size())
                         : fmt::format("{} ({} resumed)", trials, result.value("resumed", std::int64_t{0}))});
  }
  fmt::print("{}", table(rows));
}

}  // namespace

int submit_and_follow(Remote& remote, const json& request, bool as_json) {
  const auto submitted = ask_server(remote, "/v1/jobs", request, {"Idempotency-Key: " + new_key()});
  if (const auto* refusal = std::get_if<RemoteError>(&submitted)) return failed(refusal->error);
  const json& job = std::get<RemoteAnswer>(submitted).json;
  if (!job.is_object() || !job.contains("id"))
    return failed(fail("{} is no attune server", without_credentials(remote.url)));
  const auto id = job["id"].get<std::int64_t>();
  fmt::print(stderr, "job {} of {}\n", id, without_credentials(remote.url));
  const std::atomic<bool>& stop = catch_interrupts();
  Watch watch(request);
  follow(remote, id, watch, stop);
  watch.finish();
  if (stop.load())
    return failed(fail("no longer watching; job {} goes on, POST {}/v1/jobs/{}/cancel ends it", id,
                       without_credentials(remote.url), id));
  const auto ended = ask_server(remote, fmt::format("/v1/jobs/{}", id));
  if (const auto* refusal = std::get_if<RemoteError>(&ended)) return failed(refusal->error);
  const json& result = std::get<RemoteAnswer>(ended).json;
  if (as_json) {
    fmt::print("{}\n", result.dump(2));
  } else {
    print_tuned(result);
  }
  const std::string state = result.value("state", "");
  if (state == "done") return kOk;
  return failed(fail("job {} {}: {}", id, state, result.value("message", "")));
}

}  // namespace attune::cli
