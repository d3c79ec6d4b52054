#include "cli/progress.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace attune::cli {
namespace {

TuneProgress at(double seconds, std::int64_t trials, std::optional<double> best_us = {}) {
  TuneProgress progress;
  progress.elapsed_seconds = seconds;
  progress.trials = trials;
  progress.best_us = best_us;
  progress.best_tflops = 405;
  return progress;
}

// What a display wrote after the updates.
std::string shown(bool terminal, int columns, const std::vector<TuneProgress>& updates) {
  std::FILE* file = std::tmpfile();
  {
    ProgressDisplay display(file, terminal, columns, {200, 0});
    for (const TuneProgress& progress : updates) display.update(progress);
  }
  std::string text(static_cast<std::size_t>(std::ftell(file)), '\0');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  return text;
}

TEST(Progress, LineHasTrialsRateBestAndTimeLeft) {
  EXPECT_EQ(progress_line(at(2, 50, 2717), {200, 0}),
            "50/200 trials, 25.0/s, best 2.72 ms (405 TFLOP/s), 6.00 s left");
  EXPECT_EQ(progress_line(at(2, 50), {0, 0}), "50 trials, 25.0/s, none passed yet");
}

TEST(Progress, TimeLeftIsTheNearerOfBothLimits) {
  EXPECT_EQ(progress_line(at(2, 50, 2717), {200, 5}),
            "50/200 trials, 25.0/s, best 2.72 ms (405 TFLOP/s), 3.00 s left");
}

TEST(Progress, ResumedTrialsDoNotCountAsSpeed) {
  TuneProgress progress = at(2, 150, 2717);
  progress.resumed = 100;
  EXPECT_EQ(progress_line(progress, {200, 0}),
            "150/200 trials, 25.0/s, best 2.72 ms (405 TFLOP/s), 2.00 s left");
}

TEST(Progress, PlainOutputIsOccasionalWholeLines) {
  EXPECT_EQ(shown(false, 0, {at(0.1, 1), at(0.2, 2), at(4, 40), at(6, 60)}),
            "1/200 trials, 10.0/s, none passed yet, 19.9 s left\n"
            "60/200 trials, 10.0/s, none passed yet, 14.0 s left\n");
}

TEST(Progress, TerminalLineIsRewrittenAndWipedAtTheEnd) {
  EXPECT_EQ(shown(true, 12, {at(0.1, 1), at(0.15, 2), at(0.3, 3)}),
            "\r\x1b[K1/200 trial\r\x1b[K3/200 trial\r\x1b[K");
}

}  // namespace
}  // namespace attune::cli
