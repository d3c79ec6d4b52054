#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

namespace attune::serve {

// Answers to lookups, by question, for a short while: programs of one fleet ask the same few questions, and a
// lookup is a walk through the database. What this server measures clears it at once; what others write into
// the database shows after kLife. Thread safe.
class AnswerCache {
 public:
  static constexpr std::chrono::milliseconds kLife{250};
  static constexpr std::size_t kMost = 4096;  // questions come from outside: then all are forgotten

  struct Answer {
    std::string body;
    std::string provenance;
  };

  std::shared_ptr<const Answer> find(const std::string& question) const {
    const std::lock_guard lock(mutex_);
    const auto found = answers_.find(question);
    if (found == answers_.end() || Clock::now() - found->second.at > kLife) return nullptr;
    return found->second.answer;
  }

  // Taken before the question is put to the database, so that an answer that was overtaken is not kept.
  std::uint64_t generation() const {
    const std::lock_guard lock(mutex_);
    return generation_;
  }

  void keep(const std::string& question, std::shared_ptr<const Answer> answer, std::uint64_t generation) {
    const std::lock_guard lock(mutex_);
    if (generation != generation_) return;
    if (answers_.size() >= kMost) answers_.clear();
    answers_.insert_or_assign(question, Kept{std::move(answer), Clock::now()});
  }

  void clear() {
    const std::lock_guard lock(mutex_);
    ++generation_;
    answers_.clear();
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Kept {
    std::shared_ptr<const Answer> answer;
    Clock::time_point at;
  };

  mutable std::mutex mutex_;
  std::uint64_t generation_ = 0;
  std::unordered_map<std::string, Kept> answers_;
};

}  // namespace attune::serve
