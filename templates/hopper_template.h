// The Hopper attention kernel (hopper_attention.cuh): TMA, mbarrier and wgmma, sm_90a.
#pragma once

#include "templates/attention_template.h"

namespace attune {

// Lives as long as the program.
const AttentionTemplate& hopper_template();

}  // namespace attune
