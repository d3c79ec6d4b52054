#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace attune::serve {

// Answers to lookups, by question, stale while revalidated (RFC 5861): programs of one fleet ask the same
// few, and a lookup is a walk through the database. No answer is given that is older than kLife. From kFresh
// on, one of those who ask is told to have the question asked again, and everybody gets what is known
// meanwhile: nobody waits for it. What this server measures or takes in clears all at once. Thread safe.
class AnswerCache {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kFresh{250};
  static constexpr std::chrono::milliseconds kLife{1000};
  static constexpr std::size_t kMost = 4096;  // questions come from outside: then all are forgotten

  struct Answer {
    std::string body;
    std::string provenance;
  };
  struct Found {
    std::shared_ptr<const Answer> answer;  // null: not known
    bool refresh = false;                  // whoever gets this asks again, then calls keep() or give_up()
  };
  struct Ticket {
    std::uint64_t generation = 0;
    Clock::time_point at;
  };

  explicit AnswerCache(std::function<Clock::time_point()> now = Clock::now) : now_(std::move(now)) {}

  Found find(const std::string& question);

  // Taken before the question is put to the database: the answer is as old as that, and not kept if it was
  // overtaken by clear() or by a later answer.
  Ticket ticket() const;
  void keep(const std::string& question, std::shared_ptr<const Answer> answer, const Ticket& ticket);
  void give_up(const std::string& question);  // there was no answer: the next who asks may try

  void clear();

 private:
  struct Kept {
    std::shared_ptr<const Answer> answer;
    Clock::time_point at;
    bool refreshing = false;
  };

  const std::function<Clock::time_point()> now_;
  mutable std::mutex mutex_;
  std::uint64_t generation_ = 0;
  std::unordered_map<std::string, Kept> answers_;
};

}  // namespace attune::serve
