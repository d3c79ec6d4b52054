#include "serve/fair_queue.h"

#include <algorithm>
#include <functional>

namespace attune::serve {
namespace {

constexpr double kGuessedSeconds = 1;  // of a job that has only begun

}  // namespace

void FairQueue::activate(Client& client) {
  // Time not used while nothing was asked for is not saved up.
  if (client.waiting == 0 && client.running == 0) client.used = std::max(client.used, now_);
}

void FairQueue::add(std::int64_t id, const std::string& client, std::int64_t priority) {
  if (!jobs_.emplace(id, Waiting{client, priority}).second) return;
  Client& owner = clients_[client];
  activate(owner);
  ++owner.waiting;
  by_priority_[priority][client].insert(id);
}

bool FairQueue::remove(std::int64_t id) {
  const auto job = jobs_.find(id);
  if (job == jobs_.end()) return false;
  const auto& [client, priority] = job->second;
  auto& clients = by_priority_[priority];
  auto& ids = clients[client];
  ids.erase(id);
  --clients_[client].waiting;
  if (ids.empty()) clients.erase(client);
  if (clients.empty()) by_priority_.erase(priority);
  jobs_.erase(job);
  return true;
}

std::optional<std::int64_t> FairQueue::next() {
  if (by_priority_.empty()) return std::nullopt;
  const auto& clients = by_priority_.begin()->second;
  const auto least = std::min_element(clients.begin(), clients.end(), [this](const auto& a, const auto& b) {
    const double used_a = clients_[a.first].used, used_b = clients_[b.first].used;
    return used_a != used_b ? used_a < used_b : *a.second.begin() < *b.second.begin();
  });
  const std::int64_t id = *least->second.begin();
  Client& client = clients_[least->first];
  now_ = std::max(now_, client.used);
  client.used += kGuessedSeconds;
  ++client.running;
  remove(id);
  return id;
}

void FairQueue::done(const std::string& client, double seconds) {
  const auto found = clients_.find(client);
  if (found == clients_.end() || found->second.running == 0) return;
  Client& owner = found->second;
  owner.used += seconds - kGuessedSeconds;
  --owner.running;
  // Forgotten once it makes no difference: names come from outside.
  if (owner.waiting == 0 && owner.running == 0 && owner.used <= now_) clients_.erase(found);
}

}  // namespace attune::serve
