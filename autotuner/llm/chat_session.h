// The questions of one search: which model gets them, what they may cost, what is recorded, and when nobody
// is asked any more.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <random>
#include <string>
#include <vector>

#include "autotuner/llm/call_budget.h"
#include "autotuner/llm/chat.h"
#include "autotuner/llm/transcript.h"

namespace attune {

// A model of an ensemble: each question goes to one, drawn with these weights.
struct WeightedModel {
  std::string name;
  double weight = 1;
};

struct ChatSettings {
  std::vector<WeightedModel> models = {};  // at least one; a single "" where the source has but one
  int max_in_flight = 2;
  int batch = 16;           // proposals that a question asks for
  double wait_seconds = 0;  // how long a search stands still for an answer; 0: never
  std::uint64_t seed = 0;
};

struct ChatTotals {
  std::int64_t questions = 0;
  std::int64_t answered = 0;
  std::int64_t failed = 0;
  std::int64_t proposals = 0;  // configs that a model proposed and that were taken into the search
  std::int64_t repaired = 0;   // of these, changed to be legal
  std::int64_t rejected = 0;   // not taken: illegal, known already, or no config
  std::map<std::string, std::int64_t> proposals_by_model;
};

// Used from one thread. Never waits.
class ChatSession {
 public:
  // `notify` is told, once, why nobody is asked any more, and of a transcript that cannot be written.
  // `budget` must be the one that `source` reserves its calls from.
  ChatSession(std::unique_ptr<CallBudget> budget, std::unique_ptr<ChatSource> source, ChatSettings settings,
              SecondsClock now, std::function<void(const std::string&)> notify);

  void record_to(std::unique_ptr<TranscriptWriter> writer) { writer_ = std::move(writer); }

  const ChatSettings& settings() const { return settings_; }
  const CallBudget& budget() const { return *budget_; }
  const std::string& source_name() const { return source_name_; }
  const std::string& end_reason() const { return end_reason_; }  // "" while questions are possible
  std::string remark() const { return source_->remark(); }
  ChatTotals& totals() { return totals_; }
  const ChatTotals& totals() const { return totals_; }
  std::size_t in_flight() const { return asked_at_.size(); }

  // Whether a question is possible and, in a replay, due. `due` is the search's own opinion, which a replay
  // overrules. `idle`: nothing of the search is outstanding.
  bool can_ask(SearchPosition position, bool due, bool idle) const;

  // Precondition: can_ask(). Returns the ticket that the answer will carry.
  std::int64_t ask(SearchPosition position, const std::string& system, const std::string& user);

  struct Reply {
    std::int64_t ticket = 0;
    std::string model;
    std::string text;
  };
  // Answers that have arrived, failures left out.
  std::vector<Reply> take(SearchPosition position, bool idle);

  // Whether the search should stand still rather than go on without the model.
  bool worth_waiting(SearchPosition position, bool idle) const;

  // What a reply was worth: several in a row of no use, or failed calls, and nobody is asked any more.
  void judge(bool useful, const std::string& why_not);

 private:
  void account(const ChatAnswer& answer);
  void end_at_limits();
  void failed(const std::string& why, bool fatal);
  void end(const std::string& why);
  void record(const Status& status);

  std::unique_ptr<CallBudget> budget_;
  std::unique_ptr<ChatSource> source_;
  ChatSettings settings_;
  SecondsClock now_;
  std::function<void(const std::string&)> notify_;
  std::string source_name_;
  std::unique_ptr<TranscriptWriter> writer_;
  std::mt19937_64 rng_;
  std::map<std::int64_t, double> asked_at_;  // ticket -> seconds, of those under way
  std::int64_t last_ticket_ = 0;
  int failures_in_a_row_ = 0;
  std::string next_model_;
  std::string end_reason_;
  ChatTotals totals_;
};

nlohmann::json to_json(const ChatSession& session);

}  // namespace attune
