#include "autotuner/tune.h"

#include <algorithm>
#include <list>
#include <nlohmann/json.hpp>
#include <random>
#include <tuple>
#include <unordered_map>

#include "autotuner/llm/guide.h"
#include "autotuner/pipeline.h"
#include "autotuner/recorded_device.h"
#include "autotuner/strategy.h"
#include "base/time.h"
#include "cache/lookup.h"

namespace attune {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kShootOutRounds = 15;
constexpr std::size_t kMostReverified = 8;  // stale claims that are measured again, the best first
constexpr auto kWakeUp = std::chrono::milliseconds(200);  // how soon a stop flag or the time limit is noticed

std::string new_session_id() {
  std::random_device entropy;
  return fmt::format("{}-{:08x}", utc_timestamp(), entropy());
}

// What earlier runs found out of a config: what the strategy saw then, and the last word.
struct StoredTrial {
  std::optional<Trial> observed;  // absent where only a final round is left (of another search, imported)
  Trial newest;
};

// A proposal on its way.
struct Outstanding {
  std::int64_t ticket = 0;
  Point point;
  std::optional<Trial> done;
};

class TuneRun {
 public:
  TuneRun(const Space& space, const AttentionTemplate& tmpl, Device& device, CompilePool& compiler,
          TrialStore& store, const TuneOptions& options, SearchIdentity identity,
          const std::atomic<bool>& stop, const std::function<void(const TuneProgress&)>& progress)
      : space_(space),
        template_(tmpl),
        device_(device),
        compiler_(compiler),
        store_(store),
        options_(options),
        identity_(std::move(identity)),
        stop_(stop),
        progress_(progress),
        window_(outstanding_of(options, device, compiler)),
        pipeline_(identity_, tmpl, device, compiler) {}

  // Trials of this very search that are already stored: answers without a compile or a launch.
  Status take_up_stored() {
    if (options_.remeasure) return {};
    TrialFilter filter;
    filter.shape = identity_.shape;
    filter.template_name = identity_.template_name;
    filter.template_hash = identity_.template_hash;
    filter.gpu_name = identity_.device.name;
    filter.arch = identity_.device.arch;
    filter.replayed = identity_.replayed;
    filter.policy = identity_.policy;
    auto trials = store_.trials(filter);
    if (!trials) return trials.error();
    for (Trial& trial : *trials) {  // oldest first: the newest word on a config stands
      if (!staleness(trial, identity_.device, identity_.nvrtc_version).empty()) {
        stale_.insert_or_assign(trial.config_hash, std::move(trial));
        continue;
      }
      StoredTrial& known = stored_[trial.config_hash];
      if (!trial.final_round) known.observed = trial;
      known.newest = std::move(trial);
    }
    return {};
  }

  // The best of what was measured under another driver or NVRTC and not since, best first: claims to renew.
  std::vector<Point> stale_claims() const {
    std::vector<const Trial*> claims;
    for (const auto& [hash, trial] : stale_) {
      if (trial.outcome == Outcome::ok && !stored_.contains(hash)) claims.push_back(&trial);
    }
    std::sort(claims.begin(), claims.end(),
              [](const Trial* a, const Trial* b) { return rank(*a) < rank(*b); });
    claims.resize(std::min(claims.size(), kMostReverified));
    std::vector<Point> points;
    for (const Trial* claim : claims) {
      const auto config = config_from_json(nlohmann::json::parse(claim->config_json), space_.definition());
      if (!config) continue;  // no longer legal, or of axes that are no more
      if (auto point = space_.point(*config)) points.push_back(*std::move(point));
    }
    return points;
  }

  // Tells what earlier runs found out, in the order in which they did.
  void tell_stored(Strategy& strategy) {
    std::map<std::int64_t, const StoredTrial*> by_time;
    for (const auto& [hash, known] : stored_) {
      if (known.observed) by_time.emplace(known.observed->id, &known);
    }
    for (const auto& [id, known] : by_time) {
      const auto config =
          config_from_json(nlohmann::json::parse(known->observed->config_json), space_.definition());
      if (!config) continue;
      const auto point = space_.point(*config);
      if (!point) continue;
      strategy.observe(observation_of(*point, *known->observed));
      ++totals_.resumed;
      account(known->newest);
    }
  }

  Status search(Strategy& strategy) {
    propose(strategy);
    while (true) {
      observe(strategy);
      if (awaiting_) propose(strategy);
      if (out_.empty() && (finished_proposing_ || out_of_budget())) return {};
      if (interrupted() || out_of_time()) return {};
      if (auto status = collect(); !status) return status;
    }
  }

  // After the search, however it ended: keeps the evaluation that was under way and frees the device.
  Status settle() { return keep(pipeline_.finish()); }

  // The best few of the search, the record so far and the default, side by side; their new times are their
  // claims.
  Status shoot_out() {
    if (options_.shoot_out < 2 || device_.replays() || measured_now_ == 0 || interrupted()) return {};
    const auto finalists = pick_finalists();
    if (finalists.size() < 2) return {};
    return shoot_out_among(finalists);
  }

  TuneResult result() const {
    TuneResult result;
    result.totals = totals_;
    result.totals.last.reset();
    result.gpu_busy_seconds = pipeline_.device_busy_seconds() + shoot_out_seconds_;
    result.at_limit_seconds = pipeline_.at_limit_seconds() + shoot_out_seconds_;
    result.interrupted = interrupted();
    result.note = note_;
    const Trial* best = fastest();
    if (best) result.best = *best;
    const auto fallback = current_.find(default_hash_);
    if (fallback != current_.end()) result.default_trial = fallback->second;
    if (best && result.default_trial && result.default_trial->timing && best->config_hash != default_hash_) {
      const double gain_us = result.default_trial->timing->median_us - best->timing->median_us;
      const double noise_us = std::max(best->timing->spread_us, result.default_trial->timing->spread_us);
      if (gain_us < noise_us && note_.empty())
        result.note = "the best is within noise of the template's default config";
    }
    return result;
  }

  void set_default(const Config& config) {
    default_hash_ = config_hash(canonical_json(config, space_.definition()));
  }

 private:
  bool interrupted() const { return stop_.load(std::memory_order_relaxed); }
  bool out_of_budget() const { return options_.max_trials > 0 && proposed_ >= options_.max_trials; }
  bool out_of_time() const { return options_.max_seconds > 0 && elapsed() >= options_.max_seconds; }
  double elapsed() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  void propose(Strategy& strategy) {
    if (interrupted() || out_of_time() || out_of_budget()) return;
    std::size_t room = window_ - std::min(out_.size(), window_);
    if (options_.max_trials > 0)
      room = std::min(room, static_cast<std::size_t>(options_.max_trials - proposed_));
    if (room == 0) return;
    const auto points = strategy.propose(room);
    awaiting_ = points.size() < room && strategy.awaiting();
    finished_proposing_ = points.empty() && out_.empty() && !awaiting_;
    for (const Point& point : points) start(point);
  }

  void start(const Point& point) {
    const Config config = space_.config(point);
    const std::string json = canonical_json(config, space_.definition());
    const std::string hash = config_hash(json);
    ++proposed_;
    out_.push_back({proposed_, point, {}});
    if (const auto stored = stored_.find(hash); stored != stored_.end() && stored->second.observed) {
      out_.back().done = stored->second.observed;
      ++totals_.resumed;
      account(stored->second.newest);
    } else {
      pipeline_.submit(proposed_, config, json);
    }
  }

  // Waits for trials to end; each is stored at once.
  Status collect() {
    auto finished = pipeline_.wait_until(Clock::now() + kWakeUp);
    if (!finished) return finished.error();
    return keep(std::move(*finished));
  }

  Status keep(std::vector<Pipeline::Finished> finished) {
    for (auto& entry : finished) {
      if (auto status = store_.add(entry.trial); !status) return status;
      ++measured_now_;
      account(entry.trial);
      const auto place =
          std::find_if(out_.begin(), out_.end(), [&](const auto& o) { return o.ticket == entry.ticket; });
      place->done = std::move(entry.trial);
    }
    return {};
  }

  // One by one, with new proposals after each.
  void observe(Strategy& strategy) {
    for (auto next = next_to_observe(); next != out_.end(); next = next_to_observe()) {
      const Outstanding ended = std::move(*next);
      out_.erase(next);
      strategy.observe(observation_of(ended.point, *ended.done));
      propose(strategy);
    }
  }

  // Trials are stored in the order in which they end, and numbered so: whoever takes the one stored first
  // makes the same search of stored trials as of the very measurements. In a replay nothing ends by itself.
  std::list<Outstanding>::iterator next_to_observe() {
    if (device_.replays()) return !out_.empty() && out_.front().done ? out_.begin() : out_.end();
    const auto before = [](const Outstanding& a, const Outstanding& b) {
      return a.done && (!b.done || a.done->id < b.done->id);
    };
    const auto first = std::min_element(out_.begin(), out_.end(), before);
    return first != out_.end() && first->done ? first : out_.end();
  }

  Observation observation_of(const Point& point, const Trial& trial) const {
    Observation observation{.point = point, .outcome = trial.outcome, .median_us = {}};
    if (trial.timing) observation.median_us = trial.timing->median_us;
    const ModelledCost cost = cost_of(trial);
    observation.seconds = cost.compile_seconds + cost.measure_seconds;
    const auto block = template_.launch_spec(identity_.shape, identity_.device, space_.config(point)).block;
    observation.facts = {.registers = trial.registers,
                         .spill_bytes = trial.spill_bytes,
                         .smem_bytes = trial.smem_bytes,
                         .threads = static_cast<int>(block[0] * block[1] * block[2]),
                         .message = trial.message};
    return observation;
  }

  void account(const Trial& trial) {
    current_.insert_or_assign(trial.config_hash, trial);
    ++totals_.trials;
    ++totals_.outcomes[trial.outcome];
    totals_.last = trial;
    if (trial.outcome == Outcome::ok) pipeline_.set_incumbent(trial.timing->median_us);
    report();
  }

  void report() {
    totals_.elapsed_seconds = elapsed();
    totals_.best_us.reset();
    if (const Trial* best = fastest()) {
      totals_.best_us = best->timing->median_us;
      totals_.best_tflops = attention_flops(identity_.shape) / best->timing->median_us * 1e-6;
    }
    if (progress_) progress_(totals_);
  }

  // As the store ranks: a final round's times before a search's.
  static std::tuple<bool, double, const std::string&> rank(const Trial& trial) {
    return {!trial.final_round, trial.timing->median_us, trial.config_hash};
  }

  const Trial* fastest() const {
    const Trial* best = nullptr;
    for (const auto& [hash, trial] : current_) {
      if (trial.outcome != Outcome::ok) continue;
      if (!best || rank(trial) < rank(*best)) best = &trial;
    }
    return best;
  }

  // Config hashes, each once.
  std::vector<std::string> pick_finalists() const {
    std::vector<const Trial*> by_time;
    for (const auto& [hash, trial] : current_) {
      if (trial.outcome == Outcome::ok) by_time.push_back(&trial);
    }
    std::sort(by_time.begin(), by_time.end(), [](const Trial* a, const Trial* b) {
      return std::pair(a->timing->median_us, a->config_hash) <
             std::pair(b->timing->median_us, b->config_hash);
    });
    by_time.resize(std::min(by_time.size(), static_cast<std::size_t>(options_.shoot_out)));
    if (const Trial* record = fastest()) by_time.push_back(record);
    const auto fallback = current_.find(default_hash_);
    if (fallback != current_.end() && fallback->second.timing) by_time.push_back(&fallback->second);
    std::vector<std::string> hashes;
    for (const Trial* trial : by_time) {
      if (std::find(hashes.begin(), hashes.end(), trial->config_hash) == hashes.end())
        hashes.push_back(trial->config_hash);
    }
    return hashes;
  }

  // How to launch a trial's config, its kernel from the store.
  Result<Candidate> rebuild(const Trial& trial) {
    auto config = config_from_json(nlohmann::json::parse(trial.config_json), space_.definition());
    if (!config) return config.error();
    const Shape& shape = identity_.shape;
    const CompiledKernel kernel =
        compiler_.compile(template_.render(shape, identity_.device, *config), identity_.device.arch);
    if (kernel.outcome != CompileOutcome::ok)
      return fail("config {} no longer compiles: {}", trial.config_hash, kernel.log);
    return make_candidate(trial, *config, kernel, template_.launch_spec(shape, identity_.device, *config),
                          compiler_.store());
  }

  Status shoot_out_among(const std::vector<std::string>& hashes) {
    std::vector<Candidate> candidates;
    for (const auto& hash : hashes) {
      auto candidate = rebuild(current_.at(hash));
      if (!candidate) return candidate.error();
      candidates.push_back(std::move(*candidate));
    }
    const auto begin = Clock::now();
    const auto measurements = device_.shoot_out(candidates, kShootOutRounds);
    if (!measurements) {  // what was measured before is still true
      note_ = measurements.error().message;
      return {};
    }
    shoot_out_seconds_ += std::chrono::duration<double>(Clock::now() - begin).count();
    for (std::size_t i = 0; i < hashes.size(); ++i) {
      const Measurement& measurement = (*measurements)[i];
      Trial trial = current_.at(hashes[i]);
      trial.id = 0;
      trial.outcome = measurement.outcome;
      trial.message = measurement.message;
      trial.timing = measurement.timing;
      trial.sm_clock_mhz = measurement.sm_clock_mhz;
      trial.throttle = measurement.throttle;
      trial.final_round = true;
      trial.session = identity_.session;
      trial.created_at = utc_timestamp();
      if (auto status = store_.add(trial); !status) return status;
      current_.insert_or_assign(hashes[i], std::move(trial));
    }
    report();
    return {};
  }

  const Space& space_;
  const AttentionTemplate& template_;
  Device& device_;
  CompilePool& compiler_;
  TrialStore& store_;
  const TuneOptions& options_;
  const SearchIdentity identity_;
  const std::atomic<bool>& stop_;
  const std::function<void(const TuneProgress&)>& progress_;
  const std::size_t window_;  // outstanding proposals, at most
  const Clock::time_point begin_ = Clock::now();

  std::list<Outstanding> out_;  // in the order of proposing
  std::int64_t proposed_ = 0;
  std::int64_t measured_now_ = 0;  // trials that were not resumed
  bool finished_proposing_ = false;
  bool awaiting_ = false;
  std::unordered_map<std::string, StoredTrial> stored_;  // by config hash: of earlier runs
  std::map<std::string, Trial> stale_;                   // the same, measured under another driver or NVRTC
  std::map<std::string, Trial> current_;                 // by config hash: the newest word in this run
  std::string default_hash_;
  double shoot_out_seconds_ = 0;
  std::string note_;
  TuneProgress totals_;
  Pipeline pipeline_;  // last: its threads end before what they report to
};

}  // namespace

std::size_t outstanding_of(const TuneOptions& options, const Device& device, const CompilePool& compiler) {
  if (options.window > 0) return static_cast<std::size_t>(options.window);
  return outstanding_proposals(device.replays() ? kUsualCompileThreads
                                                : static_cast<std::size_t>(compiler.threads()));
}

Result<TuneResult> tune(const Shape& shape, const AttentionTemplate& tmpl, const Space& space, Device& device,
                        CompilePool& compiler, TrialStore& store, const TuneOptions& options,
                        const std::atomic<bool>& stop,
                        const std::function<void(const TuneProgress&)>& progress) {
  const Config fallback = tmpl.default_config(shape, device.facts());
  std::vector<Point> start;
  for (const Config& config : options.start) {
    auto point = space.point(config);
    if (!point) return fail("a start config is not in the space: {}", point.error().message);
    start.push_back(std::move(*point));
  }
  // A restricted space may lack the default; then there is nothing to compare with.
  if (auto point = space.point(fallback)) start.push_back(std::move(*point));
  SearchIdentity identity{.shape = shape,
                          .template_name = std::string(tmpl.name()),
                          .template_hash = std::string(tmpl.hash()),
                          .device = device.facts(),
                          .replayed = device.replays(),
                          .nvrtc_version = compiler.nvrtc_version(),
                          .policy = options.policy,
                          .strategy = options.strategy,
                          .session = new_session_id()};
  TuneRun run(space, tmpl, device, compiler, store, options, std::move(identity), stop, progress);
  run.set_default(fallback);
  if (auto status = run.take_up_stored(); !status) return status.error();
  auto stale = run.stale_claims();
  start.insert(start.begin(), std::make_move_iterator(stale.begin()), std::make_move_iterator(stale.end()));
  const LlmGuide guide{{shape, device.facts(), std::string(tmpl.name()), options.max_trials}, options.llm};
  auto strategy = make_strategy(options.strategy, space, options.seed, std::move(start),
                                static_cast<std::size_t>(options.max_trials), &guide);
  if (!strategy) return strategy.error();
  if (options.tell_stored) run.tell_stored(**strategy);
  const Status searched = run.search(**strategy);
  const Status settled = run.settle();
  if (!searched) return searched.error();
  if (!settled) return settled.error();
  if (auto status = run.shoot_out(); !status) return status.error();
  TuneResult result = run.result();
  result.compile = compiler.stats();
  return result;
}

}  // namespace attune
