// attune strategies score: strategies replayed on recorded spaces, as a table, JSON and a plot.
#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "autotuner/score.h"
#include "autotuner/score_plot.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/strategies.h"
#include "cli/text.h"
#include "cli/write_file.h"

namespace attune::cli {
namespace {

struct ScoreFlags {
  std::vector<std::string> strategies;
  std::vector<std::string> recordings;
  ScoreOptions options;
  std::string json;
  std::string plot;
};

std::vector<std::string> row(const StrategyScore& s) {
  return {s.strategy,
          s.space,
          fmt::format("{:.3f}", s.score),
          fmt::format("{:.3f}", s.deviation),
          fmt::format("{:.3f}", s.score_seconds),
          fmt::format("{:.2f}%", 100 * s.gap_after_60),
          fmt::format("{:.2f}%", 100 * s.gap_at_end),
          fmt::format("{:.1f} s", s.seconds),
          fmt::format("{:.2f} ms", s.own_us * 1e-3)};
}

std::string scores_text(const std::vector<StrategyScore>& scores, const ScoreOptions& options) {
  const std::vector<std::string> head{
      "strategy", "space",    "score", "+-", "in time", "gap 60", fmt::format("gap {}", options.max_trials),
      "modelled", "own/trial"};
  std::vector<std::vector<std::string>> rows{head};
  for (const StrategyScore& score : scores) rows.push_back(row(score));
  std::vector<std::vector<std::string>> means{head};
  for (const StrategyScore& score : mean_scores(scores)) means.push_back(row(score));
  return table(rows) + "\n" + table(means) +
         fmt::format(
             "\n{} seeds, {} trials, window {}. score: 0 is random search, 1 the optimum at once, over "
             "budgets in\n"
             "trials; +- over seeds; in time: over budgets in modelled seconds ({} compile threads, one "
             "GPU); gap: "
             "the\nbest's distance to the optimum, median over seeds; modelled: seconds of the whole "
             "budget.\n",
             options.seeds, options.max_trials, options.outstanding(), options.compile_threads);
}

nlohmann::json document(const std::vector<StrategyScore>& scores, const ScoreFlags& flags) {
  nlohmann::json json = {
      {"seeds", flags.options.seeds},          {"max_trials", flags.options.max_trials},
      {"window", flags.options.outstanding()}, {"compile_threads", flags.options.compile_threads},
      {"scores", nlohmann::json::array()},     {"means", nlohmann::json::array()}};
  for (const StrategyScore& score : scores) json["scores"].push_back(to_json(score));
  for (const StrategyScore& mean : mean_scores(scores)) {
    nlohmann::json item = to_json(mean);
    for (const char* key : {"curve", "lower_quartile", "median", "upper_quartile"}) item.erase(key);
    json["means"].push_back(std::move(item));
  }
  return json;
}

// "312/1,200 searches, 45.2/s, 20.1 s left"
std::string score_line(std::size_t done, std::size_t total, double elapsed) {
  std::string line = fmt::format("{}/{} searches", grouped(done), grouped(total));
  if (done == 0 || elapsed <= 0) return line;
  const double rate = static_cast<double>(done) / elapsed;
  return line + fmt::format(", {}/s, {} left", significant(rate),
                            duration(static_cast<double>(total - done) / rate));
}

int run_score(const ScoreFlags& flags) {
  std::vector<std::string> names = flags.strategies;
  if (names.empty()) {
    for (const StrategyInfo& info : strategies()) {
      if (!info.asks_a_model) names.push_back(info.name);
    }
  }
  for (const std::string& name : names) {
    if (const auto known = check_strategy(name); !known) {
      return usage_error(fail("--strategies: {}", known.error().message));
    }
  }
  auto named = read_replays(flags.recordings);
  if (!named) return usage_error(named.error());
  std::vector<ReplaySpace> replays;
  for (NamedReplay& item : *named) replays.push_back(std::move(item.replay));

  const std::atomic<bool>& stop = catch_interrupts();
  const int columns = terminal_columns(stderr);
  LiveLine line(stderr, columns > 0, columns);
  const auto begin = std::chrono::steady_clock::now();
  const auto scores =
      score_strategies(names, replays, flags.options, stop, [&](std::size_t done, std::size_t total) {
        const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
        line.update(score_line(done, total, elapsed.count()), elapsed.count());
      });
  line.finish();
  if (!scores) return failed(scores.error());

  if (!flags.plot.empty()) {
    const std::string title = fmt::format(
        "Best config so far, median of {} seeds; shaded: the middle half, of the best", flags.options.seeds);
    if (const auto written = write_file(flags.plot, score_plot(title, *scores)); !written)
      return failed(written.error());
  }
  if (!flags.json.empty() && flags.json != "-") {
    if (const auto written = write_file(flags.json, document(*scores, flags).dump(1) + "\n"); !written)
      return failed(written.error());
  }
  fmt::print("{}", flags.json == "-" ? document(*scores, flags).dump(1) + "\n"
                                     : scores_text(*scores, flags.options));
  return kOk;
}

}  // namespace

Action configure_strategies_score(CLI::App& app) {
  auto flags = std::make_shared<ScoreFlags>();
  ScoreOptions& options = flags->options;
  options.threads = std::max(1U, std::thread::hardware_concurrency());
  app.add_option("--strategies", flags->strategies, "Which ones (default: all that ask no language model)")
      ->delimiter(',')
      ->type_name("S,...");
  add_recordings_flag(app, flags->recordings);
  const auto count = [&app](const char* flag, std::size_t& value, const char* help) {
    return app.add_option(flag, value, help)
        ->capture_default_str()
        ->check(CLI::Range(1, 1'000'000))
        ->type_name("N");
  };
  count("--seeds", options.seeds, "Searches a strategy and space");
  count("--max-trials", options.max_trials, "The largest budget");
  count("--window", options.window, "Proposals outstanding at once; the default is attune tune's")
      ->default_str("9/8 a compile thread");
  count("--compile-threads", options.compile_threads, "Of the machine that is modelled");
  count("--threads", options.threads, "Searches replayed at once here");
  app.add_option("--json", flags->json, "Scores and curves as JSON to this file; - is stdout, for the table")
      ->type_name("FILE");
  app.add_option("--plot", flags->plot, "Best so far against the budget as an SVG, a panel a space")
      ->type_name("FILE");
  return [flags] { return run_score(*flags); };
}

}  // namespace attune::cli
