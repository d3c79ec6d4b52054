// Which shape is worth the next seconds of a sweep: a bandit over arms, an arm being a shape through a
// template. Needs no GPU, no clock and no database.
//
// Every arm first gets a helping of trials. From then on the arm goes first that promises the most per
// second: its expected gain (half of what its latest helping gained, and a share of hope that shrinks with
// every helping), less what it still lacks to be its shape's best, times its shape's weight, over the seconds
// that its latest helping took. Everything is relative (ln of times): a percent counts the same on any shape.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace attune {

struct ScheduleOptions {
  std::int64_t first_trials = 24;  // of every arm
  std::int64_t helping = 32;       // later
  std::int64_t max_trials = 200;   // of a shape, its arms together; 0: no limit
};

// What a shape's budget is handed out in: a third for a first look through each template, then smaller
// pieces.
ScheduleOptions portions(std::int64_t max_trials);

class SweepSchedule {
 public:
  explicit SweepSchedule(ScheduleOptions options) : options_(options) {}

  // Returns the arm's number. Arms of one shape are given the same `shape` and weight; the first of a shape
  // is the one that is tried first. Arms are served in the order in which they were added, first arms of all
  // shapes before second ones.
  std::size_t add_arm(std::size_t shape, double weight);

  // What is known of an arm, from the database: at the start, and after each helping. `seconds` is what the
  // helping took (0: nothing was run), `exhausted`: its space has no further config.
  struct Standing {
    std::int64_t trials = 0;
    std::optional<double> best_us;
    bool compared = true;  // its best was in a final round (or there is none to be in)
  };
  void start(std::size_t arm, const Standing& standing);
  void done(std::size_t arm, const Standing& standing, double seconds, bool exhausted);
  void failed(std::size_t arm);  // it is left out from now on

  struct Helping {
    std::size_t arm = 0;
    std::int64_t trials = 0;
    bool first = false;  // of the arm
  };
  // The next helping for a worker, nothing: none is left for it. A shape stays with the worker that first
  // served it, so that its arms are compared on one GPU.
  std::optional<Helping> next(int worker);

  std::size_t first_helpings_left() const;  // arms that have not had theirs
  std::optional<double> best_us(std::size_t shape) const;

 private:
  struct Arm {
    std::size_t shape = 0;
    double weight = 1;
    std::size_t place = 0;  // among its shape's arms
    Standing standing;
    double gain = 0;     // of the latest helping, ln
    double seconds = 1;  // of it
    int helpings = 0;
    bool over = false;
    bool running = false;
  };

  std::int64_t trials_left(const Arm& arm) const;
  bool open_to(const Arm& arm, int worker) const;
  double promise(const Arm& arm) const;

  ScheduleOptions options_;
  std::vector<Arm> arms_;
  std::vector<std::optional<int>> owners_;  // by shape
};

}  // namespace attune
