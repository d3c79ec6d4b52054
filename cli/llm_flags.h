// Whom the strategy "llm" asks, and what that may cost: flags and environment.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autotuner/llm/call_budget.h"
#include "autotuner/llm/chat_session.h"
#include "autotuner/llm/endpoint_chat.h"
#include "autotuner/tune.h"
#include "base/result.h"
#include "cli/target.h"

namespace attune::cli {

struct LlmFlags {
  std::string exchange;
  std::string replay;
  std::string record;
  std::string note;
  std::vector<std::string> models;  // NAME or NAME=WEIGHT
  std::vector<std::string> prices;  // [MODEL=]IN/OUT
  ChatSettings chat;
  CallLimits limits;
  EndpointSettings endpoint;
  std::vector<const CLI::Option*> options;  // to tell which were given
};

void add_llm_flags(CLI::App& app, LlmFlags& flags);

// Models in the form of --llm-model and ATTUNE_LLM_MODEL.
Result<std::vector<WeightedModel>> parse_models(const std::vector<std::string>& words);

// In the form of --llm-price: by model, "" for all others.
Result<std::map<std::string, TokenPrice>> parse_prices(const std::vector<std::string>& words);

// What the flags ask for makes sense for this strategy, or why not. Before any work.
Status check_llm_flags(const LlmFlags& flags, const std::string& strategy);

// Reads ATTUNE_LLM_URL, ATTUNE_LLM_MODEL, ATTUNE_LLM_CA_FILE and takes ATTUNE_LLM_API_KEY out of the
// environment. `notify` is told what people must know while the search runs.
Result<std::shared_ptr<ChatSession>> open_llm(LlmFlags flags, const Target& target,
                                              const TuneOptions& options,
                                              std::function<void(const std::string&)> notify);

std::string to_text(const ChatSession& session);  // one line of a report

}  // namespace attune::cli
