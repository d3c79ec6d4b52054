// Hard limits on what a language model may cost: a call whose worst case does not fit is not made.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "autotuner/llm/chat.h"
#include "base/result.h"

namespace attune {

// US dollars for a million tokens.
struct TokenPrice {
  double prompt = 0;
  double completion = 0;
};

struct CallLimits {
  std::int64_t max_calls = 50;            // requests sent, retries included; 0: no limit (all of these)
  std::int64_t max_tokens = 0;            // in and out together
  double max_dollars = 0;                 // needs a price for every model
  double max_seconds = 0;                 // since the first question
  std::int64_t max_answer_tokens = 8192;  // of one answer; what a call reserves
  std::map<std::string, TokenPrice> prices = {};  // by model; "": all others
};

class CallBudget {
 public:
  CallBudget(CallLimits limits, SecondsClock now) : limits_(std::move(limits)), now_(std::move(now)) {}

  const CallLimits& limits() const { return limits_; }

  // Takes a call's worst case out of what is left, or says which limit forbids it.
  Status reserve(const std::string& model, std::int64_t prompt_tokens);

  // What a reserved call came to in truth.
  void settle(const std::string& model, std::int64_t reserved_prompt_tokens, const ChatUsage& usage);

  // Which limit leaves no room for a call of such a prompt, "" when there is room.
  std::string exhausted(const std::string& model, std::int64_t prompt_tokens) const;

  double seconds_left() const;  // infinite without a limit

  std::int64_t calls() const { return calls_; }
  const ChatUsage& used() const { return used_; }
  double dollars() const { return dollars_; }

 private:
  double cost(const std::string& model, const ChatUsage& usage) const;

  CallLimits limits_;
  SecondsClock now_;
  std::optional<double> began_;
  std::int64_t calls_ = 0;
  ChatUsage used_;
  double dollars_ = 0;
  std::int64_t reserved_tokens_ = 0;
  double reserved_dollars_ = 0;
};

}  // namespace attune
