// Questions and answers as files in a folder: any model or person that can read and write files can answer,
// without a network. docs/llm.md describes the files.
#pragma once

#include <filesystem>
#include <memory>

#include "autotuner/llm/call_budget.h"
#include "autotuner/llm/chat.h"
#include "base/result.h"

namespace attune {

// Makes the folder if need be. Numbers go on after the highest that is there: an answer of an earlier search
// is never taken for one of this.
Result<std::unique_ptr<ChatSource>> exchange_chat(const std::filesystem::path& folder, CallBudget& budget,
                                                  SecondsClock now);

}  // namespace attune
