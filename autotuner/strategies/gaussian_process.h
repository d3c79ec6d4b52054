// Gaussian process regression on the points of a space (Rasmussen and Williams, "Gaussian processes for
// machine learning", 2006, chapters 2 and 5): what is known of every candidate's value after each new
// observation, at the cost of one step of the factorization.
#pragma once

#include <cstddef>
#include <vector>

#include "autotuner/space.h"

namespace attune {

// How alike two points are: exp(-sum of weight times distance over the axes). The distance of an axis is 0 or
// 1 where its values have no order, else their places' distance, 1 from end to end. A heavy axis matters
// much.
class PointKernel {
 public:
  explicit PointKernel(const Space& space);

  double correlation(const Point& a, const Point& b) const;

  // Climbs the likelihood of the values (times a prior that holds each weight near its first guess) one
  // weight and the noise at a time, up or down by a factor, starting from what was learnt before.
  // True where anything changed. Precondition: as many values as points, at least two.
  bool learn(const std::vector<Point>& points, const std::vector<double>& values);

  double noise() const { return noise_; }  // variance of a measurement, in the signal's variances

 private:
  double distance(std::size_t axis, std::int16_t a, std::int16_t b) const;
  double penalty() const;  // minus the log of the prior

  std::vector<std::size_t> axes_;  // those with more than one value
  std::vector<double> scale_;      // by axis; 0: no order
  std::vector<double> weights_;
  double noise_;
};

// The posterior at a set of candidates. Not thread safe.
class GaussianProcess {
 public:
  explicit GaussianProcess(const PointKernel& kernel) : kernel_(&kernel) {}

  std::size_t size() const { return candidates_.size(); }
  const Point& candidate(std::size_t i) const { return candidates_[i]; }
  double mean(std::size_t i) const { return mean_[i]; }
  double variance(std::size_t i) const { return variance_[i]; }  // in the signal's variances

  // The variance of the signal that the training values speak for; mean() is in their unit.
  double signal_variance() const;

  // Cost: the square of the number of training points.
  void add_candidate(Point point);

  // A training point whose value is not known yet: the mean at it is believed until then (Ginsbourger, Le
  // Riche and Carraro, "Kriging is well-suited to parallelize optimization", 2010). Cost: training points
  // times candidates.
  std::size_t add_training(const Point& point);

  // The value of the i-th training point. Cost: training points after it, times candidates.
  void set_value(std::size_t i, double value);

 private:
  std::vector<double> whitened(const Point& point) const;  // L^-1 k(training, point)
  void resolve(std::size_t from);

  const PointKernel* kernel_;
  std::vector<Point> training_;
  std::vector<std::vector<double>> factor_;  // rows of the Cholesky factor L
  std::vector<double> values_;
  std::vector<bool> known_;
  std::vector<double> white_values_;  // L^-1 values
  std::vector<Point> candidates_;
  std::vector<std::vector<float>> white_;  // a row a training point: L^-1 k(training, candidates)
  std::vector<double> mean_;
  std::vector<double> variance_;
};

}  // namespace attune
