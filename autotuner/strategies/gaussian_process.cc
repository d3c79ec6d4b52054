#include "autotuner/strategies/gaussian_process.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace attune {
namespace {

constexpr double kFirstWeight = 0.5;
constexpr double kFirstNoise = 1e-3;
constexpr double kPriorWidth = 1.5;  // of a weight's logarithm
constexpr double kStep = 2.0;        // the factor of one climb
constexpr double kLeastNoise = 1e-5;
constexpr double kMostNoise = 0.1;

// Four sums side by side: one alone would wait for itself.
double dot(const double* a, const double* b, std::size_t n) {
  double sums[4] = {0, 0, 0, 0};
  std::size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (std::size_t j = 0; j < 4; ++j) sums[j] += a[i + j] * b[i + j];
  }
  for (; i < n; ++i) sums[0] += a[i] * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// In place, lower triangle, row major; false where it is not positive definite.
bool factorize(std::vector<double>& a, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    double* row = &a[i * n];
    for (std::size_t j = 0; j <= i; ++j) {
      const double* other = &a[j * n];
      const double sum = row[j] - dot(row, other, j);
      if (j < i) {
        row[j] = sum / other[j];
      } else if (sum <= 0) {
        return false;
      } else {
        row[i] = std::sqrt(sum);
      }
    }
  }
  return true;
}

// Minus the log likelihood with the signal's variance at its best value. `exponent` holds the points'
// weighted distances, lower triangle.
double misfit(const std::vector<double>& exponent, double noise, const std::vector<double>& values) {
  const std::size_t n = values.size();
  std::vector<double> a(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j) a[i * n + j] = std::exp(-exponent[i * n + j]);
    a[i * n + i] = 1 + noise;
  }
  if (!factorize(a, n)) return HUGE_VAL;
  double squares = 0;
  double determinant = 0;
  std::vector<double> white(n);
  for (std::size_t i = 0; i < n; ++i) {
    white[i] = (values[i] - dot(&a[i * n], white.data(), i)) / a[i * n + i];
    squares += white[i] * white[i];
    determinant += std::log(a[i * n + i]);
  }
  return 0.5 * static_cast<double>(n) * std::log(squares / static_cast<double>(n)) + determinant;
}

}  // namespace

PointKernel::PointKernel(const Space& space) : noise_(kFirstNoise) {
  for (const Axis& axis : space.axes()) {
    if (axis.values.size() > 1) axes_.push_back(scale_.size());
    const bool ordered = std::all_of(axis.values.begin(), axis.values.end(), [](const AxisValue& value) {
      return std::holds_alternative<std::int64_t>(value);
    });
    scale_.push_back(ordered && axis.values.size() > 1 ? 1.0 / static_cast<double>(axis.values.size() - 1)
                                                       : 0.0);
  }
  weights_.assign(scale_.size(), kFirstWeight);
}

double PointKernel::distance(std::size_t axis, std::int16_t a, std::int16_t b) const {
  if (a == b) return 0;
  // Whether it is active is another axis's doing, and counted there.
  if (a == kInactive || b == kInactive) return 0;
  return scale_[axis] == 0 ? 1 : std::abs(a - b) * scale_[axis];
}

double PointKernel::correlation(const Point& a, const Point& b) const {
  double exponent = 0;
  for (const std::size_t axis : axes_) {
    if (a[axis] != b[axis]) exponent += weights_[axis] * distance(axis, a[axis], b[axis]);
  }
  return std::exp(-exponent);
}

double PointKernel::penalty() const {
  double sum = 0;
  for (const std::size_t axis : axes_) {
    const double x = std::log(weights_[axis] / kFirstWeight) / kPriorWidth;
    sum += 0.5 * x * x;
  }
  return sum;
}

bool PointKernel::learn(const std::vector<Point>& points, const std::vector<double>& values) {
  const std::size_t n = points.size();
  std::vector<double> exponent(n * n, 0.0);
  const auto shift = [&](std::size_t axis, double by, std::vector<double>& to) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < i; ++j)
        to[i * n + j] += by * distance(axis, points[i][axis], points[j][axis]);
    }
  };
  for (const std::size_t axis : axes_) shift(axis, weights_[axis], exponent);
  double best = misfit(exponent, noise_, values) + penalty();
  bool climbed = false;
  for (const std::size_t axis : axes_) {
    for (const double factor : {kStep, 1 / kStep}) {
      const double before = weights_[axis];
      std::vector<double> changed = exponent;
      shift(axis, before * factor - before, changed);
      weights_[axis] = before * factor;
      const double cost = misfit(changed, noise_, values) + penalty();
      if (cost < best) {
        best = cost;
        exponent = std::move(changed);
        climbed = true;
        break;
      }
      weights_[axis] = before;
    }
  }
  for (const double factor : {4.0, 0.25}) {
    const double noise = std::clamp(noise_ * factor, kLeastNoise, kMostNoise);
    const double cost = misfit(exponent, noise, values) + penalty();
    if (cost >= best) continue;
    noise_ = noise;
    climbed = true;
    break;
  }
  return climbed;
}

std::vector<double> GaussianProcess::whitened(const Point& point) const {
  std::vector<double> white(training_.size());
  for (std::size_t i = 0; i < training_.size(); ++i) {
    const std::vector<double>& row = factor_[i];
    white[i] = (kernel_->correlation(training_[i], point) - dot(row.data(), white.data(), i)) / row[i];
  }
  return white;
}

void GaussianProcess::add_candidate(Point point) {
  const std::vector<double> white = whitened(point);
  double mean = 0;
  double variance = 1;
  for (std::size_t i = 0; i < white.size(); ++i) {
    white_[i].push_back(static_cast<float>(white[i]));
    mean += white[i] * white_values_[i];
    variance -= white[i] * white[i];
  }
  candidates_.push_back(std::move(point));
  mean_.push_back(mean);
  variance_.push_back(std::max(variance, 0.0));
}

std::size_t GaussianProcess::add_training(const Point& point) {
  std::vector<double> row = whitened(point);
  const std::size_t n = row.size();
  double left = 1 + kernel_->noise();
  double believed = 0;
  for (std::size_t k = 0; k < n; ++k) {
    left -= row[k] * row[k];
    believed += row[k] * white_values_[k];
  }
  const double pivot = std::sqrt(std::max(left, kernel_->noise()));
  std::vector<float> white(candidates_.size());
  std::vector<float> inner(candidates_.size(), 0.0F);
  for (std::size_t k = 0; k < n; ++k) {
    const auto weight = static_cast<float>(row[k]);
    const std::vector<float>& other = white_[k];
    for (std::size_t c = 0; c < inner.size(); ++c) inner[c] += weight * other[c];
  }
  for (std::size_t c = 0; c < white.size(); ++c) {
    const double value = (kernel_->correlation(point, candidates_[c]) - inner[c]) / pivot;
    white[c] = static_cast<float>(value);
    variance_[c] = std::max(variance_[c] - value * value, 0.0);
  }
  row.push_back(pivot);
  training_.push_back(point);
  factor_.push_back(std::move(row));
  white_.push_back(std::move(white));
  values_.push_back(believed);
  known_.push_back(false);
  white_values_.push_back(0);  // what was believed is no news
  return n;
}

double GaussianProcess::signal_variance() const {
  double squares = 0;
  for (const double value : white_values_) squares += value * value;
  return squares / static_cast<double>(std::max<std::size_t>(1, white_values_.size()));
}

void GaussianProcess::set_value(std::size_t i, double value) {
  values_[i] = value;
  known_[i] = true;
  resolve(i);
}

// The believed values after `from` follow from those before, and are no news.
void GaussianProcess::resolve(std::size_t from) {
  for (std::size_t i = from; i < training_.size(); ++i) {
    double news = 0;
    if (known_[i]) {
      news = values_[i];
      for (std::size_t k = 0; k < i; ++k) news -= factor_[i][k] * white_values_[k];
      news /= factor_[i][i];
    }
    const double change = news - white_values_[i];
    if (change == 0) continue;
    white_values_[i] = news;
    for (std::size_t c = 0; c < mean_.size(); ++c) mean_[c] += change * static_cast<double>(white_[i][c]);
  }
}

}  // namespace attune
