// What a model is told: the problem once (system), and what the search knows by now (question).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "autotuner/llm/elite_islands.h"
#include "autotuner/llm/guide.h"
#include "autotuner/space.h"
#include "autotuner/strategy.h"

namespace attune {

struct KnownTrial {
  std::int64_t number = 0;  // from 1, in the order of observing
  Observation observation;
  bool by_model = false;
};

// What an island is for: each question is asked in the name of one.
enum class IslandRole { refine, explore, recombine };

struct QuestionState {
  const std::vector<KnownTrial>* trials = nullptr;
  Point fallback;                    // what a proposal changes before any trial passed
  std::vector<Elite> elites;         // of the island, fastest first
  std::vector<Point> under_way;      // proposed, not observed
  std::vector<std::string> remarks;  // on the model's earlier proposals: repaired, refused
  std::string notes;                 // the model's own, from its last answer
  IslandRole role = IslandRole::refine;
  std::size_t batch = 16;
};

// Device, shape, axes with their values and meaning, rules with an example each, and the form of an answer.
std::string system_prompt(const LlmProblem& problem, const Space& space, std::size_t batch);

// Best, results as differences from it, failures with their reasons, what each axis value gave, the island's
// elites, and what is asked for. About 2 to 6 KiB, however long the search.
std::string question(const LlmProblem& problem, const Space& space, const QuestionState& state);

}  // namespace attune
