#include "autotuner/score_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace attune {
namespace {

// Told apart by people who see few colours, on white and on black: Okabe and Ito's, yellow and black left
// out. From the eighth strategy on the lines are dashed.
constexpr std::array kColours{"#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c8c8c"};
constexpr std::size_t kMostBands = 3;  // strategies whose quartiles are shaded: more of them hide the lines
constexpr double kPanelWidth = 420;
constexpr double kPanelHeight = 250;
constexpr double kLeft = 76;  // beside a panel: its labels
constexpr double kTop = 34;   // above it: its name
constexpr double kBottom = 44;
constexpr double kRight = 20;
constexpr double kHead = 66;  // title and legend
constexpr std::size_t kColumns = 2;
constexpr std::array kMarks{0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0};  // above the optimum

constexpr const char* kStyle = R"(<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.grid { stroke: #24292f; stroke-opacity: .15 }
.line { fill: none; stroke-width: 1.8 }
.band { fill-opacity: .13; stroke: none }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .grid { stroke: #e6edf3; stroke-opacity: .2 } }
</style>
)";

std::string escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    result += c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : std::string(1, c);
  }
  return result;
}

// How a strategy's line is drawn.
struct Pen {
  explicit Pen(std::size_t strategy)
      : colour(kColours[strategy % kColours.size()]), dashed(strategy >= kColours.size()) {}

  std::string line(const std::string& path) const {
    return fmt::format("<path class=\"line\" stroke=\"{}\"{} d=\"{}\"/>\n", colour,
                       dashed ? " stroke-dasharray=\"5 3\"" : "", path);
  }

  const char* colour;
  bool dashed;
};

// One space's strategies in a frame of its own.
class Panel {
 public:
  Panel(double x, double y, std::size_t trials, double most)
      : x_(x), y_(y), trials_(trials), top_(std::sqrt(most)) {}

  // Square roots: a difference of 1% shows, and zero has a place.
  double vertical(double ratio) const {
    return y_ + kPanelHeight * (1 - std::min(1.0, std::sqrt(std::max(0.0, ratio - 1)) / top_));
  }
  double horizontal(std::size_t trial) const {
    return x_ + kPanelWidth * static_cast<double>(trial) / static_cast<double>(trials_);
  }

  std::string frame(const std::string& name) const {
    std::string svg = text(x_, y_ - 10, "start", name);
    for (const double mark : kMarks) {
      if (std::sqrt(mark) > top_ * 1.001) break;
      const double y = vertical(1 + mark);
      svg += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}h{:.1f}\"/>\n", x_, y, kPanelWidth);
      svg += text(x_ - 8, y + 4, "end", mark == 0 ? "optimum" : fmt::format("+{:g}%", mark * 100));
    }
    const std::size_t step = std::max<std::size_t>(1, trials_ / 5);
    for (std::size_t trial = 0; trial <= trials_; trial += step) {
      svg += fmt::format("<path class=\"grid\" d=\"M{:.1f} {:.1f}v{:.1f}\"/>\n", horizontal(trial), y_,
                         kPanelHeight);
      svg += text(horizontal(trial), y_ + kPanelHeight + 18, "middle", std::to_string(trial));
    }
    return svg + text(x_ + kPanelWidth / 2, y_ + kPanelHeight + 36, "middle", "trials");
  }

  std::string band(const Quartiles& quartiles, const Pen& pen) const {
    std::string outline = "M" + path(quartiles.upper);
    for (std::size_t k = quartiles.lower.size(); k > 0; --k) outline += "L" + at(k, quartiles.lower[k - 1]);
    return fmt::format("<path class=\"band\" fill=\"{}\" d=\"{}Z\"/>\n", pen.colour, outline);
  }

  std::string line(const Quartiles& quartiles, const Pen& pen) const {
    return pen.line("M" + path(quartiles.median));
  }

  static std::string text(double x, double y, const char* anchor, const std::string& words,
                          const char* kind = "") {
    return fmt::format("<text class=\"{}\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", kind, x,
                       y, anchor, escaped(words));
  }

 private:
  std::string at(std::size_t trial, double ratio) const {
    return fmt::format("{:.1f} {:.1f}", horizontal(trial), vertical(ratio));
  }

  // Of equal values in a row only the ends.
  std::string path(const std::vector<double>& ratios) const {
    std::string points;
    for (std::size_t k = 0; k < ratios.size(); ++k) {
      const bool inside =
          k > 0 && k + 1 < ratios.size() && ratios[k] == ratios[k - 1] && ratios[k] == ratios[k + 1];
      if (!inside) points += (points.empty() ? "" : "L") + at(k + 1, ratios[k]);
    }
    return points;
  }

  double x_;
  double y_;
  std::size_t trials_;
  double top_;
};

std::vector<std::string> spaces_of(const std::vector<StrategyScore>& scores) {
  std::vector<std::string> names;
  for (const StrategyScore& score : scores) {
    if (std::find(names.begin(), names.end(), score.space) == names.end()) names.push_back(score.space);
  }
  return names;
}

// The best first.
std::vector<std::string> strategies_of(const std::vector<StrategyScore>& scores) {
  std::vector<std::string> names;
  for (const StrategyScore& mean : mean_scores(scores)) names.push_back(mean.strategy);
  return names;
}

// The top of a panel's scale: where the slowest strategy's upper quartile is when a twentieth of the budget
// is spent. What was before that is a line that comes down from above.
double highest(const std::vector<StrategyScore>& scores, const std::string& space) {
  double most = 0.03;
  for (const StrategyScore& score : scores) {
    const auto& upper = score.quartiles.upper;
    if (score.space == space) most = std::max(most, upper[upper.size() / 20] - 1);
  }
  return most;
}

std::string legend(const std::vector<std::string>& strategies) {
  std::string svg;
  double x = kLeft;
  for (std::size_t i = 0; i < strategies.size(); ++i) {
    svg += Pen(i).line(fmt::format("M{:.1f} 46h22", x));
    svg += Panel::text(x + 28, 50, "start", strategies[i]);
    x += 48 + 7.5 * static_cast<double>(strategies[i].size());
  }
  return svg;
}

}  // namespace

std::string score_plot(const std::string& title, const std::vector<StrategyScore>& scores) {
  const auto strategies = strategies_of(scores);
  const auto spaces = spaces_of(scores);
  const double cell_width = kLeft + kPanelWidth + kRight;
  const double cell_height = kTop + kPanelHeight + kBottom;
  const std::size_t columns = std::min(kColumns, std::max<std::size_t>(1, spaces.size()));
  const std::size_t rows = (spaces.size() + columns - 1) / columns;
  const double width = std::max(cell_width * static_cast<double>(columns), 2 * cell_width);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\">\n{2}",
      width, kHead + cell_height * static_cast<double>(rows), kStyle);
  svg += Panel::text(kLeft, 24, "start", title, "title") + legend(strategies);
  for (std::size_t i = 0; i < spaces.size(); ++i) {
    std::size_t trials = 1;
    for (const StrategyScore& score : scores) {
      if (score.space == spaces[i]) trials = std::max(trials, score.quartiles.median.size());
    }
    const Panel panel(static_cast<double>(i % columns) * cell_width + kLeft,
                      kHead + static_cast<double>(i / columns) * cell_height + kTop, trials,
                      highest(scores, spaces[i]));
    svg += panel.frame(spaces[i]);
    std::string lines;  // over all bands, the best strategy's on top
    for (std::size_t number = strategies.size(); number-- > 0;) {
      for (const StrategyScore& score : scores) {
        if (score.space != spaces[i] || score.strategy != strategies[number]) continue;
        if (number < kMostBands) svg += panel.band(score.quartiles, Pen(number));
        lines += panel.line(score.quartiles, Pen(number));
      }
    }
    svg += lines;
  }
  return svg + "</svg>\n";
}

}  // namespace attune
