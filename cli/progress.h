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

// Time comes from the progress itself, so that what is shown depends on nothing else.
class ProgressDisplay {
 public:
  ProgressDisplay(std::FILE* out, bool terminal, int columns, ProgressGoal goal)
      : out_(out), terminal_(terminal), columns_(columns), goal_(goal) {}
  ~ProgressDisplay() { finish(); }
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  void update(const TuneProgress& progress);
  void finish();  // wipes the live line, so that what follows starts at column 0

 private:
  std::FILE* out_;
  bool terminal_;
  int columns_;
  ProgressGoal goal_;
  std::optional<double> shown_at_;  // elapsed seconds of the last line
  bool live_ = false;
};

// Columns of the terminal behind `out`; 0 when it is not one.
int terminal_columns(std::FILE* out);

}  // namespace attune::cli
