// The plot of a score: best so far against the budget, a panel a space, medians, and the best
// strategies' quartiles.
#pragma once

#include <string>
#include <vector>

#include "autotuner/score.h"

namespace attune {

// An SVG document, readable on light and dark ground. `title` is a line above the panels. Scores of the same
// space share a panel, of the same strategy a line's colour: the best mean score comes first. The quartiles
// of the first three are shaded. Each score must have its quartiles, at least one trial long.
std::string score_plot(const std::string& title, const std::vector<StrategyScore>& scores);

}  // namespace attune
