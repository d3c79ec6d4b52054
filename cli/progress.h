// How a running search is shown: one line rewritten in place on a terminal, an occasional plain line
// elsewhere.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "autotuner/tune.h"

namespace attune::cli {

struct ProgressGoal {
  std::int64_t max_trials = 0;  // 0: no limit
  double max_seconds = 0;       // 0: no limit
};

// "87/200 trials, 31.2/s, best 2.72 ms (405 TFLOP/s), 3.62 s left"; no search-dependent state.
std::string progress_line(const TuneProgress& progress, const ProgressGoal& goal);

// Shows at most one line an interval, whoever calls however often.
class LiveLine {
 public:
  LiveLine(std::FILE* out, bool terminal, int columns) : out_(out), terminal_(terminal), columns_(columns) {}
  ~LiveLine() { finish(); }
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  bool due(double elapsed_seconds) const;
  void update(std::string line, double elapsed_seconds);  // nothing where it is not due
  void finish();  // wipes the live line, so that what follows starts at column 0

 private:
  std::FILE* out_;
  bool terminal_;
  int columns_;
  std::optional<double> shown_at_;  // elapsed seconds of the last line
  bool live_ = false;
};

// Time comes from the progress itself, so that what is shown depends on nothing else.
class ProgressDisplay {
 public:
  ProgressDisplay(std::FILE* out, bool terminal, int columns, ProgressGoal goal)
      : line_(out, terminal, columns), goal_(goal) {}

  void update(const TuneProgress& progress);
  void finish() { line_.finish(); }

 private:
  LiveLine line_;
  ProgressGoal goal_;
};

// Columns of the terminal behind `out`; 0 when it is not one.
int terminal_columns(std::FILE* out);

}  // namespace attune::cli
