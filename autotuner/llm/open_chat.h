// Opens the questions of one search: from an endpoint, an exchange folder, or a transcript.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autotuner/llm/call_budget.h"
#include "autotuner/llm/chat_session.h"
#include "autotuner/llm/endpoint_chat.h"
#include "autotuner/target.h"
#include "autotuner/tune.h"
#include "base/result.h"

namespace attune {

struct ChatPlan {
  std::string exchange;  // folder of questions and answers, or
  std::string replay;    // transcript that answers; both "": the endpoint
  std::string record;    // transcript to write
  std::string note;
  std::vector<std::string> models;  // NAME or NAME=WEIGHT; none: ATTUNE_LLM_MODEL
  std::vector<std::string> prices;  // [MODEL=]IN/OUT
  ChatSettings chat;
  CallLimits limits;
  EndpointSettings endpoint;  // without a URL: take_endpoint()
};

// Models in the form of --llm-model and ATTUNE_LLM_MODEL.
Result<std::vector<WeightedModel>> parse_models(const std::vector<std::string>& words);

// In the form of --llm-price: by model, "" for all others.
Result<std::map<std::string, TokenPrice>> parse_prices(const std::vector<std::string>& words);

// Reads ATTUNE_LLM_URL and ATTUNE_LLM_CA_FILE, and takes ATTUNE_LLM_API_KEY out of the environment: it is
// there once.
void take_endpoint(EndpointSettings& endpoint);

// `notify` is told what people must know while the search runs. A replay sets options.window to that of the
// search that was recorded, on which the order of what a strategy is told depends.
Result<std::shared_ptr<ChatSession>> open_chat(ChatPlan request, const Target& target, TuneOptions& options,
                                               std::function<void(const std::string&)> notify);

}  // namespace attune
