// Which waiting job is next: the highest priority first; within a priority the client that has had the least
// time, so that one who submits a thousand jobs doesn't keep out one who submits two; of a client's the
// oldest. Start-time fair queuing (Goyal, Vin and Cheng, 1996) with the seconds that jobs took as their cost.
// Needs no clock and no database. Not thread safe: its owner locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

namespace attune::serve {

class FairQueue {
 public:
  void add(std::int64_t id, const std::string& client, std::int64_t priority);
  bool remove(std::int64_t id);  // false: it is not there

  // Takes the next job; its client is charged a second until done() says what it took.
  std::optional<std::int64_t> next();

  // A job that next() gave has ended after so many seconds.
  void done(const std::string& client, double seconds);

  std::size_t size() const { return jobs_.size(); }

 private:
  struct Client {
    double used = 0;          // seconds, on the queue's scale
    std::size_t waiting = 0;  // jobs
    std::size_t running = 0;
  };
  struct Waiting {
    std::string client;
    std::int64_t priority = 0;
  };

  void activate(Client& client);

  std::unordered_map<std::int64_t, Waiting> jobs_;
  // priority (greatest first) -> client -> ids
  std::map<std::int64_t, std::map<std::string, std::set<std::int64_t>>, std::greater<>> by_priority_;
  std::map<std::string, Client> clients_;
  double now_ = 0;  // `used` of the client that was served last: who comes back starts here, not at 0
};

}  // namespace attune::serve
