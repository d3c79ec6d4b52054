#include "cli/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace attune::cli {

std::string significant(double value) {
  const double size = std::abs(value);
  if (!std::isfinite(value)) return "?";
  if (size == 0) return "0";
  const int digits_before = static_cast<int>(std::floor(std::log10(size))) + 1;
  std::string text = fmt::format("{:.{}f}", value, std::clamp(3 - digits_before, 0, 9));
  // 9.996 rounds up to a digit more than asked for.
  if (digits_before < 3 && text.find_first_of("123456789") != std::string::npos) {
    const int now = static_cast<int>(std::floor(std::log10(std::abs(std::stod(text))))) + 1;
    if (now > digits_before) text = fmt::format("{:.{}f}", value, std::clamp(3 - now, 0, 9));
  }
  return text;
}

std::string milliseconds(double us) {
  return significant(us / 1000) + " ms";
}

std::string byte_size(std::int64_t bytes) {
  if (bytes < 1000) return fmt::format("{} B", bytes);
  static constexpr std::array kUnits{"kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (value /= 1000; value >= 999.5 && unit + 1 < kUnits.size(); value /= 1000) ++unit;
  return fmt::format("{} {}", significant(value), kUnits[unit]);
}

std::string duration(double seconds) {
  if (seconds < 99.5) return significant(seconds) + " s";
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string count_of(std::int64_t n, const char* one, const char* many) {
  return fmt::format("{} {}", grouped(static_cast<std::uint64_t>(n)), n == 1 ? one : many);
}

double tflops(double flops, double us) {
  return us > 0 ? flops / us * 1e-6 : 0;
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size();
      line += last ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
    }
    text += line + "\n";
  }
  return text;
}

}  // namespace attune::cli
