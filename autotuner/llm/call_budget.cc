#include "autotuner/llm/call_budget.h"

#include <limits>

namespace attune {

std::int64_t estimated_tokens(std::size_t bytes) {
  return static_cast<std::int64_t>((bytes + 1) / 2);
}

double CallBudget::cost(const std::string& model, const ChatUsage& usage) const {
  auto price = limits_.prices.find(model);
  if (price == limits_.prices.end()) price = limits_.prices.find("");
  if (price == limits_.prices.end()) return 0;
  return (static_cast<double>(usage.prompt_tokens) * price->second.prompt +
          static_cast<double>(usage.completion_tokens) * price->second.completion) *
         1e-6;
}

double CallBudget::seconds_left() const {
  if (limits_.max_seconds <= 0) return std::numeric_limits<double>::infinity();
  return began_ ? limits_.max_seconds - (now_() - *began_) : limits_.max_seconds;
}

std::string CallBudget::exhausted(const std::string& model, std::int64_t prompt_tokens) const {
  const ChatUsage worst{prompt_tokens, limits_.max_answer_tokens};
  if (limits_.max_calls > 0 && calls_ >= limits_.max_calls)
    return fmt::format("its limit of {} calls is reached", limits_.max_calls);
  if (limits_.max_tokens > 0 && used_.total() + reserved_tokens_ + worst.total() > limits_.max_tokens) {
    return fmt::format("{} tokens are used and the next call may take {}: the limit is {}",
                       used_.total() + reserved_tokens_, worst.total(), limits_.max_tokens);
  }
  if (limits_.max_dollars > 0 && dollars_ + reserved_dollars_ + cost(model, worst) > limits_.max_dollars) {
    return fmt::format("{:.4f} USD are spent and the next call may cost {:.4f}: the limit is {}",
                       dollars_ + reserved_dollars_, cost(model, worst), limits_.max_dollars);
  }
  if (seconds_left() <= 0) return fmt::format("its time of {} s is over", limits_.max_seconds);
  return "";
}

Status CallBudget::reserve(const std::string& model, std::int64_t prompt_tokens) {
  if (std::string why = exhausted(model, prompt_tokens); !why.empty()) return Error{std::move(why)};
  if (!began_) began_ = now_();
  ++calls_;
  const ChatUsage worst{prompt_tokens, limits_.max_answer_tokens};
  reserved_tokens_ += worst.total();
  reserved_dollars_ += cost(model, worst);
  return {};
}

void CallBudget::settle(const std::string& model, std::int64_t reserved_prompt_tokens,
                        const ChatUsage& usage) {
  const ChatUsage worst{reserved_prompt_tokens, limits_.max_answer_tokens};
  reserved_tokens_ -= worst.total();
  reserved_dollars_ -= cost(model, worst);
  used_.prompt_tokens += usage.prompt_tokens;
  used_.completion_tokens += usage.completion_tokens;
  dollars_ += cost(model, usage);
}

}  // namespace attune
