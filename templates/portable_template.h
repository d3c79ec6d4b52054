// The portable attention kernel (portable_attention.cuh): mma.sync and cp.async, sm_80 and newer.
#pragma once

#include "templates/attention_template.h"

namespace attune {

// Lives as long as the program.
const AttentionTemplate& portable_template();

}  // namespace attune
