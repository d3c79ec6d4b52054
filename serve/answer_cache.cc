#include "serve/answer_cache.h"

namespace attune::serve {

AnswerCache::Found AnswerCache::find(const std::string& question) {
  const std::lock_guard lock(mutex_);
  const auto found = answers_.find(question);
  if (found == answers_.end()) return {};
  Kept& kept = found->second;
  const auto age = now_() - kept.at;
  if (age > kLife) return {};
  const bool refresh = age > kFresh && !kept.refreshing;
  if (refresh) kept.refreshing = true;
  return {kept.answer, refresh};
}

AnswerCache::Ticket AnswerCache::ticket() const {
  const std::lock_guard lock(mutex_);
  return {generation_, now_()};
}

void AnswerCache::keep(const std::string& question, std::shared_ptr<const Answer> answer,
                       const Ticket& ticket) {
  const std::lock_guard lock(mutex_);
  if (ticket.generation != generation_) return;
  if (const auto known = answers_.find(question); known != answers_.end() && known->second.at > ticket.at)
    return;
  if (answers_.size() >= kMost) answers_.clear();
  answers_.insert_or_assign(question, Kept{std::move(answer), ticket.at});
}

void AnswerCache::give_up(const std::string& question) {
  const std::lock_guard lock(mutex_);
  if (const auto known = answers_.find(question); known != answers_.end()) known->second.refreshing = false;
}

void AnswerCache::clear() {
  const std::lock_guard lock(mutex_);
  ++generation_;
  answers_.clear();
}

}  // namespace attune::serve
