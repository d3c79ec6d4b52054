// Questions to a language model and its answers, whoever gives them: an endpoint, files in a folder, or a
// transcript of earlier answers.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace attune {

// The seam to the clock: seconds that only grow.
using SecondsClock = std::function<double()>;

struct ChatRequest {
  std::string model;  // "" where the source has only one
  std::string system;
  std::string user;
};

struct ChatUsage {
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  std::int64_t total() const { return prompt_tokens + completion_tokens; }
};

// Tokens that a text may take at most: prompts of digits and punctuation come near one every two bytes.
std::int64_t estimated_tokens(std::size_t bytes);

struct ChatAnswer {
  std::int64_t ticket = 0;
  std::optional<std::string> text;  // absent: nobody answered, and `error` says why
  std::string error;
  bool fatal = false;  // no other question would fare better (a refused key, say)
  std::string model;   // who answered, as told
  ChatUsage usage;
};

// Where a search stands: what a transcript goes by in place of a clock.
struct SearchPosition {
  std::int64_t proposed = 0;
  std::int64_t observed = 0;
  auto operator<=>(const SearchPosition&) const = default;
};

// Used from one thread. Nothing here waits: a search goes on meanwhile.
class ChatSource {
 public:
  virtual ~ChatSource() = default;

  // "ENDPOINT", for people and transcripts; holds no secret.
  virtual std::string name() const = 0;

  virtual void ask(std::int64_t ticket, const ChatRequest& request) = 0;

  // Answers that have arrived. `idle`: nothing of the search is outstanding, nothing else will change.
  virtual std::vector<ChatAnswer> take(SearchPosition position, bool idle) = 0;

  // A replay asks and waits where the recorded search did; live sources have no opinion.
  virtual std::optional<bool> asks_at(SearchPosition, bool /*idle*/) const { return std::nullopt; }
  virtual std::optional<bool> waits_at(SearchPosition) const { return std::nullopt; }

  // Nobody will be asked any more.
  virtual void end_questions() {}

  // What people should know of the source at the end, if anything.
  virtual std::string remark() const { return ""; }
};

}  // namespace attune
