// Whom the strategy "llm" asks, and what that may cost: flags and environment.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "autotuner/llm/open_chat.h"
#include "base/result.h"

namespace attune::cli {

struct LlmFlags : ChatPlan {
  std::vector<const CLI::Option*> options;  // to tell which were given
};

void add_llm_flags(CLI::App& app, LlmFlags& flags);

// What the flags ask for makes sense for this strategy, or why not. Before any work.
Status check_llm_flags(const LlmFlags& flags, const std::string& strategy);

std::string to_text(const ChatSession& session);  // one line of a report

}  // namespace attune::cli
