#include "cli/progress.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

#include "cli/text.h"

namespace attune::cli {
namespace {

constexpr double kTerminalSeconds = 0.1;  // between two rewrites of the live line
constexpr double kPlainSeconds = 5;       // between two lines of a log

// Trials a second of this run: resumed ones took no time.
double rate(const TuneProgress& progress) {
  const auto done = static_cast<double>(progress.trials - progress.resumed);
  return progress.elapsed_seconds > 0 ? done / progress.elapsed_seconds : 0;
}

std::optional<double> seconds_left(const TuneProgress& progress, const ProgressGoal& goal) {
  std::optional<double> left;
  const double speed = rate(progress);
  if (goal.max_trials > 0 && speed > 0) {
    left = static_cast<double>(std::max<std::int64_t>(0, goal.max_trials - progress.trials)) / speed;
  }
  if (goal.max_seconds > 0) {
    const double until_limit = std::max(0.0, goal.max_seconds - progress.elapsed_seconds);
    left = std::min(left.value_or(until_limit), until_limit);
  }
  return left;
}

}  // namespace

std::string progress_line(const TuneProgress& progress, const ProgressGoal& goal) {
  std::string line = grouped(static_cast<std::uint64_t>(progress.trials));
  if (goal.max_trials > 0) line += "/" + grouped(static_cast<std::uint64_t>(goal.max_trials));
  line += " trials";
  if (const double speed = rate(progress); speed > 0) line += fmt::format(", {}/s", significant(speed));
  if (progress.best_us) {
    line += fmt::format(", best {} ({} TFLOP/s)", milliseconds(*progress.best_us),
                        significant(progress.best_tflops));
  } else {
    line += ", none passed yet";
  }
  if (const auto left = seconds_left(progress, goal)) line += fmt::format(", {} left", duration(*left));
  return line;
}

bool LiveLine::due(double elapsed_seconds) const {
  return !shown_at_ || elapsed_seconds - *shown_at_ >= (terminal_ ? kTerminalSeconds : kPlainSeconds);
}

void LiveLine::update(std::string line, double elapsed_seconds) {
  if (!due(elapsed_seconds)) return;
  shown_at_ = elapsed_seconds;
  if (!terminal_) {
    fmt::print(out_, "{}\n", line);
  } else {
    if (columns_ > 1) line.resize(std::min(line.size(), static_cast<std::size_t>(columns_ - 1)));
    fmt::print(out_, "\r\x1b[K{}", line);
    live_ = true;
  }
  std::fflush(out_);
}

void LiveLine::finish() {
  if (!live_) return;
  fmt::print(out_, "\r\x1b[K");
  std::fflush(out_);
  live_ = false;
}

void ProgressDisplay::update(const TuneProgress& progress) {
  if (line_.due(progress.elapsed_seconds))
    line_.update(progress_line(progress, goal_), progress.elapsed_seconds);
}

int terminal_columns(std::FILE* out) {
  const int file = fileno(out);
  if (isatty(file) == 0) return 0;
  winsize size{};
  return ioctl(file, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace attune::cli
