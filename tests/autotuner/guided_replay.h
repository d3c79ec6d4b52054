// Replays of searches that a capable model really guided, without compiling. Shared with
// bench/guided_search.cc.
#pragma once

#include <algorithm>
#include <deque>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "autotuner/llm/chat_session.h"
#include "autotuner/llm/guide.h"
#include "autotuner/llm/transcript.h"
#include "autotuner/recorded_device.h"
#include "autotuner/strategy.h"
#include "templates/attention_template.h"

namespace attune::guided {

inline constexpr std::size_t kTrials = 60;
inline constexpr std::size_t kWindow = 32;  // of the searches that the transcripts are of

struct Guided {
  TranscriptInfo info;
  ChatTotals totals;
  std::vector<double> best_us;  // after each trial
};

// The fastest so far after each of kTrials trials (fewer where the strategy ends), by the tune loop's rules.
inline std::vector<double> best_so_far(Strategy& strategy, const Space& space, const RecordedDevice& device) {
  std::vector<double> best_us;
  double best = std::numeric_limits<double>::infinity();
  std::deque<Point> outstanding;
  std::size_t proposed = 0;
  while (best_us.size() < kTrials) {
    for (Point& point : strategy.propose(std::min(kWindow - outstanding.size(), kTrials - proposed))) {
      outstanding.push_back(std::move(point));
      ++proposed;
    }
    if (outstanding.empty() && !strategy.awaiting()) break;
    if (outstanding.empty()) continue;
    const Trial& trial = *device.find(config_hash(space.canonical(outstanding.front())));
    Observation observation{.point = outstanding.front(), .outcome = trial.outcome, .median_us = {}};
    if (trial.timing) observation.median_us = trial.timing->median_us;
    if (trial.outcome == Outcome::ok) best = std::min(best, trial.timing->median_us);
    strategy.observe(observation);
    outstanding.pop_front();
    best_us.push_back(best);
  }
  return best_us;
}

// As `attune tune --strategy llm --seed 1 --max-trials 60 --llm-replay FILE` on the recording, without
// compiling.
inline Guided replayed(const std::string& recording_name, const std::string& transcripts) {
  auto replay = replay_chat(transcripts + "/" + recording_name + ".jsonl");
  if (!replay) throw std::runtime_error(replay.error().message);
  const Recording recording = *read_recording(recording_name);
  const AttentionTemplate& tmpl = **find_template(recording.info.template_name);
  const Space whole(tmpl.space(recording.info.shape, recording.info.device));
  const Space space = *recorded_space(whole, recording);
  const RecordedDevice device(recording);

  ChatSettings settings;
  settings.models = {{"", 1}};
  const SecondsClock clock = [] { return 0.0; };
  const auto session = std::make_shared<ChatSession>(std::make_unique<CallBudget>(CallLimits{}, clock),
                                                     std::move(replay->source), settings, clock, nullptr);
  const LlmGuide guide{{recording.info.shape, recording.info.device, recording.info.template_name, kTrials},
                       session};
  const auto strategy = *make_strategy("llm", space, 1, {}, kTrials, &guide);

  Guided guided{.info = replay->info, .totals = {}, .best_us = best_so_far(*strategy, space, device)};
  guided.totals = session->totals();
  return guided;
}

}  // namespace attune::guided
