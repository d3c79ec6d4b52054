#include "autotuner/llm/chat_session.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <numeric>

namespace attune {
namespace {

constexpr int kMostFailuresInARow = 3;
constexpr std::size_t kTypicalPromptBytes = 8000;  // to foresee that a limit leaves no room for a question

std::string draw_model(const std::vector<WeightedModel>& models, std::mt19937_64& rng) {
  const double total = std::accumulate(models.begin(), models.end(), 0.0,
                                       [](double sum, const WeightedModel& m) { return sum + m.weight; });
  double left = static_cast<double>(rng() >> 11) * 0x1p-53 * total;
  for (const WeightedModel& model : models) {
    left -= model.weight;
    if (left < 0) return model.name;
  }
  return models.back().name;
}

}  // namespace

ChatSession::ChatSession(std::unique_ptr<CallBudget> budget, std::unique_ptr<ChatSource> source,
                         ChatSettings settings, SecondsClock now,
                         std::function<void(const std::string&)> notify)
    : budget_(std::move(budget)),
      source_(std::move(source)),
      settings_(std::move(settings)),
      now_(std::move(now)),
      notify_(std::move(notify)),
      source_name_(source_->name()),
      rng_(settings_.seed),
      next_model_(draw_model(settings_.models, rng_)) {}

bool ChatSession::can_ask(SearchPosition position, bool due, bool idle) const {
  if (!end_reason_.empty()) return false;
  if (in_flight() >= static_cast<std::size_t>(settings_.max_in_flight)) return false;
  return source_->asks_at(position, idle).value_or(due);
}

std::int64_t ChatSession::ask(SearchPosition position, const std::string& system, const std::string& user) {
  const std::int64_t ticket = ++last_ticket_;
  const ChatRequest request{next_model_, system, user};
  next_model_ = draw_model(settings_.models, rng_);
  ++totals_.questions;
  asked_at_[ticket] = now_();
  if (writer_) record(writer_->ask(position, ticket, request));
  source_->ask(ticket, request);
  return ticket;
}

std::vector<ChatSession::Reply> ChatSession::take(SearchPosition position, bool idle) {
  std::vector<Reply> replies;
  for (ChatAnswer& answer : source_->take(position, idle)) {
    asked_at_.erase(answer.ticket);
    if (writer_) record(writer_->answer(position, answer));
    account(answer);
    if (answer.text) replies.push_back({answer.ticket, answer.model, *std::move(answer.text)});
  }
  end_at_limits();
  return replies;
}

void ChatSession::end_at_limits() {
  if (!end_reason_.empty() || totals_.questions == 0) return;
  if (budget_->seconds_left() <= 0) asked_at_.clear();  // what is under way is not waited for
  if (in_flight() > 0) return;
  const std::string why = budget_->exhausted(next_model_, estimated_tokens(kTypicalPromptBytes));
  if (!why.empty()) end(why);
}

void ChatSession::account(const ChatAnswer& answer) {
  if (!answer.text) {
    ++totals_.failed;
    return failed(answer.error, answer.fatal);
  }
  ++totals_.answered;
}

void ChatSession::judge(bool useful, const std::string& why_not) {
  if (!useful) return failed(why_not, false);
  failures_in_a_row_ = 0;
}

void ChatSession::failed(const std::string& why, bool fatal) {
  ++failures_in_a_row_;
  if (fatal || failures_in_a_row_ >= kMostFailuresInARow) end(why);
}

void ChatSession::end(const std::string& why) {
  if (!end_reason_.empty()) return;
  end_reason_ = why;
  source_->end_questions();
  if (notify_) notify_(fmt::format("LLM: {}; the search goes on without it", why));
}

void ChatSession::record(const Status& status) {
  if (status) return;
  writer_.reset();
  if (notify_) notify_("LLM: " + status.error().message + "; the search goes on unrecorded");
}

bool ChatSession::worth_waiting(SearchPosition position, bool idle) const {
  if (const auto recorded = source_->waits_at(position)) return *recorded;
  if (settings_.wait_seconds <= 0) return false;
  for (const auto& [ticket, asked_at] : asked_at_) {
    if (now_() - asked_at < settings_.wait_seconds) return true;
  }
  // A question will be asked once there is more to tell.
  return end_reason_.empty() && in_flight() == 0 && !idle;
}

nlohmann::json to_json(const ChatSession& session) {
  const ChatTotals& totals = session.totals();
  const CallBudget& budget = session.budget();
  return {{"source", session.source_name()},
          {"questions", totals.questions},
          {"answered", totals.answered},
          {"failed", totals.failed},
          {"calls", budget.calls()},
          {"prompt_tokens", budget.used().prompt_tokens},
          {"completion_tokens", budget.used().completion_tokens},
          {"dollars", budget.dollars()},
          {"proposals", totals.proposals},
          {"repaired", totals.repaired},
          {"rejected", totals.rejected},
          {"proposals_by_model", totals.proposals_by_model},
          {"end_reason", session.end_reason()},
          {"remark", session.remark()}};
}

}  // namespace attune
