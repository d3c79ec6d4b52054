// What the strategy that asks a language model has to know beside the space.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/device_facts.h"
#include "base/shape.h"

namespace attune {

class ChatSession;

struct LlmProblem {
  Shape shape;
  DeviceFacts device;
  std::string template_name;
  std::int64_t max_trials = 0;  // 0: no limit
};

struct LlmGuide {
  LlmProblem problem;
  std::shared_ptr<ChatSession> session;  // null: nobody to ask
};

}  // namespace attune
