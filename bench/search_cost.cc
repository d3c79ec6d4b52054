// What the host side costs beside compiling and measuring: ./dev bench.
#include <benchmark/benchmark.h>

#include <cmath>
#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "autotuner/space.h"
#include "autotuner/strategy.h"
#include "cache/trial_store.h"
#include "templates/attention_template.h"

namespace attune {
namespace {

Shape shape() {
  return {.batch = 4, .q_heads = 32, .kv_heads = 32, .q_len = 4096, .kv_len = 4096, .head_dim = 128};
}

DeviceFacts device() {
  return *nominal_facts("sm_90a");
}

const AttentionTemplate& portable() {
  return **find_template("portable");
}

// The whole space of the portable template, far larger than any recording.
const Space& whole_space() {
  static const Space space(portable().space(shape(), device()));
  return space;
}

// An invented time that is smooth enough to be learnt, so that a strategy does all its work.
Observation invented(const Point& point) {
  double time = 100;
  for (std::size_t axis = 0; axis < point.size(); ++axis)
    time += std::abs(point[axis] - static_cast<int>(axis % 3));
  return {.point = point,
          .outcome = Outcome::ok,
          .median_us = time + static_cast<double>(PointHash()(point) % 100) * 0.01,
          .seconds = 0.1};
}

// The mean cost of a trial, propose and observe, of a search of 5,000 with a usual number outstanding.
// Strategies that ask a language model have none here: what they cost is their local search.
void strategy_trial(benchmark::State& state, const std::string& name) {
  const auto trials = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    constexpr std::size_t kWindow = outstanding_proposals(kUsualCompileThreads);
    const auto strategy = *make_strategy(name, whole_space(), 1, {}, trials);
    std::deque<Point> outstanding;
    for (std::size_t done = 0; done < trials; ++done) {
      for (Point& point : strategy->propose(std::min(kWindow, trials - done) - outstanding.size())) {
        outstanding.push_back(std::move(point));
      }
      if (outstanding.empty()) state.SkipWithError("nothing proposed");
      if (outstanding.empty()) return;
      strategy->observe(invented(outstanding.front()));
      outstanding.pop_front();
    }
  }
  state.counters["per_trial"] =
      benchmark::Counter(static_cast<double>(trials),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void canonical_json_and_hash(benchmark::State& state) {
  const SpaceDefinition definition = portable().space(shape(), device());
  const Config config = portable().default_config(shape(), device());
  for (auto _ : state) benchmark::DoNotOptimize(config_hash(canonical_json(config, definition)));
}
BENCHMARK(canonical_json_and_hash);

void count_the_space(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Space(portable().space(shape(), device())).count());
}
BENCHMARK(count_the_space)->Unit(benchmark::kMillisecond);

Trial trial_of(const Point& point) {
  Trial trial;
  trial.shape = shape();
  trial.template_name = portable().name();
  trial.template_hash = portable().hash();
  trial.config_json = whole_space().canonical(point);
  trial.config_hash = config_hash(trial.config_json);
  trial.device = device();
  trial.nvrtc_version = "13.0";
  trial.outcome = Outcome::ok;
  trial.timing = Timing{.median_us = *invented(point).median_us, .min_us = 1, .spread_us = 1, .samples = 9};
  trial.relative_error = 1e-3;
  trial.max_abs_error = 1e-3;
  trial.strategy = "random";
  trial.session = "bench";
  return trial;
}

// A database of some trials in a folder of its own.
class Database {
 public:
  explicit Database(std::size_t trials) : folder_(std::filesystem::temp_directory_path() / "attune-bench") {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    store_ = *open_sqlite_store(folder_ / "bench.db");
    Rng rng(1);
    for (std::size_t i = 0; i < trials; ++i) insert(rng);
  }
  ~Database() {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  bool insert(Rng& rng) {
    Trial trial = trial_of(whole_space().sample(rng));
    return store_->add(trial).ok();
  }
  TrialStore& store() { return *store_; }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<TrialStore> store_;
};

void store_insert(benchmark::State& state) {  // durable: each waits for the disk
  Database database(0);
  Rng rng(2);
  for (auto _ : state) {
    if (!database.insert(rng)) state.SkipWithError("not stored");
  }
}
BENCHMARK(store_insert)->Unit(benchmark::kMicrosecond);

void store_lookup(benchmark::State& state) {
  Database database(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(database.store().lookup(shape(), device(), {}, "13.0", {}, LookupReach::near));
  }
}
BENCHMARK(store_lookup)->Arg(1000)->Unit(benchmark::kMicrosecond);

const bool registered = [] {
  for (const StrategyInfo& info : strategies()) {
    benchmark::RegisterBenchmark(("strategy/" + info.name).c_str(), strategy_trial, info.name)
        ->Arg(5000)
        ->Iterations(1)
        ->Unit(benchmark::kMillisecond);
  }
  return true;
}();

}  // namespace
}  // namespace attune
