// Searches that a capable model really guided, replayed: the transcripts' first lines say who answered.
#include <gmock/gmock.h>

#include "autotuner/score.h"
#include "tests/autotuner/guided_replay.h"

namespace attune {
namespace {

using testing::HasSubstr;
using namespace guided;

class Transcripts : public testing::TestWithParam<std::pair<const char*, double>> {};
// Best times as the recorded searches reported them.
INSTANTIATE_TEST_SUITE_P(Llm, Transcripts,
                         testing::Values(std::pair("h100-dense-4096-d128", 2733.472),
                                         std::pair("h100-causal-2048-d64", 64.128)));

TEST_P(Transcripts, TheModelsProposalsAreTriedAndItsBestIsFound) {
  const auto& [recording, best_us] = GetParam();
  const Guided guided = replayed(recording, ATTUNE_LLM_TRANSCRIPTS);
  EXPECT_THAT(guided.info.note, HasSubstr("Claude"));
  ASSERT_EQ(guided.best_us.size(), kTrials);
  EXPECT_GE(guided.totals.proposals, 45);
  EXPECT_DOUBLE_EQ(guided.best_us.back(), best_us);
}

// Nothing is promised of other models, but these two did better than chance from the first dozen on.
TEST_P(Transcripts, TheGuidedSearchIsAheadOfRandom) {
  const Guided guided = replayed(GetParam().first, ATTUNE_LLM_TRANSCRIPTS);
  const Recording recording = *read_recording(GetParam().first);
  const Space whole(
      (*find_template(recording.info.template_name))->space(recording.info.shape, recording.info.device));
  const std::vector<double> random_us =
      expected_best_of_random(ReplaySpace::make(whole, recording, std::nullopt)->sorted_us(), kTrials);
  for (const std::size_t trials : {12U, 24U, 36U, 48U, 60U}) {
    EXPECT_LT(guided.best_us[trials - 1], random_us[trials - 1]) << trials;
  }
}

}  // namespace
}  // namespace attune
