// Claims as rows, handed out with FOR UPDATE SKIP LOCKED. All times are the server's.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cache/claims.h"
#include "cache/location.h"
#include "cache/postgres_database.h"

namespace attune {
namespace {

constexpr const char* kEnlist =
    "INSERT INTO claims (shape, gpu_name, arch, replayed, policy, templates, weight, max_trials) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (shape, gpu_name, arch, replayed, policy, templates) "
    "DO UPDATE SET weight = excluded.weight, max_trials = greatest(claims.max_trials, excluded.max_trials), "
    "state = CASE WHEN claims.state = 'done' AND excluded.max_trials > claims.max_trials THEN 'open' "
    "ELSE claims.state END RETURNING id";

// A holder that goes silent again and again may be what the shape does to a host.
constexpr const char* kGiveUp =
    "UPDATE claims SET state = 'given up', times_lost = times_lost + 1, ended_at = now(), "
    "message = 'the lease of ' || holder || ' ran out, the last of ' || (times_lost + 1) || ' failures' "
    "WHERE id = ANY(CAST(? AS bigint[])) AND state = 'held' AND expires_at < now() AND times_lost + 1 >= ?";

constexpr const char* kTake =
    "UPDATE claims SET state = 'held', token = token + 1, holder = ?, "
    "taken_from = CASE WHEN state = 'held' THEN holder ELSE '' END, "
    "times_lost = times_lost + CASE WHEN state = 'held' THEN 1 ELSE 0 END, held_since = now(), "
    "heard_at = now(), expires_at = now() + CAST(? AS double precision) * interval '1 second', "
    "ended_at = NULL, message = '' "
    "WHERE id = (SELECT id FROM claims WHERE id = ANY(CAST(? AS bigint[])) AND (state = 'open' OR "
    "(state = 'held' AND expires_at < now())) ORDER BY token, weight DESC, id LIMIT 1 FOR UPDATE SKIP "
    "LOCKED) "
    "RETURNING id, token, taken_from";

constexpr const char* kRenew =
    "UPDATE claims SET heard_at = now(), expires_at = now() + CAST(? AS double precision) * interval "
    "'1 second' WHERE id = ? AND token = ? AND state = 'held' RETURNING id";
constexpr const char* kFinish =
    "UPDATE claims SET state = 'done', times_done = times_done + 1, ended_at = now() "
    "WHERE id = ? AND token = ? AND state = 'held' RETURNING id";
constexpr const char* kGiveBack =
    "UPDATE claims SET state = 'open', ended_at = now(), message = ? "
    "WHERE id = ? AND token = ? AND state = 'held' RETURNING id";
constexpr const char* kFail =
    "UPDATE claims SET state = CASE WHEN times_lost + 1 >= ? THEN 'given up' ELSE 'open' END, "
    "times_lost = times_lost + 1, ended_at = now(), message = ? "
    "WHERE id = ? AND token = ? AND state = 'held' RETURNING id";

constexpr const char* kCounts =
    "SELECT count(*) FILTER (WHERE state = 'open' OR (state = 'held' AND expires_at < now())), "
    "count(*) FILTER (WHERE state = 'held' AND expires_at >= now()), "
    "count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'given up') "
    "FROM claims WHERE id = ANY(CAST(? AS bigint[]))";

#define ATTUNE_UTC(column) \
  "coalesce(to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), '')"
constexpr const char* kAll =
    "SELECT shape, gpu_name, arch, replayed, policy, templates, weight, max_trials, "
    "CASE WHEN state = 'held' AND expires_at < now() THEN 'expired' ELSE state END, "
    "holder, taken_from, " ATTUNE_UTC("held_since") ", " ATTUNE_UTC("ended_at") ", "
    "coalesce(extract(epoch FROM now() - heard_at), 0), coalesce(extract(epoch FROM expires_at - now()), 0), "
    "times_lost, times_done, message FROM claims ORDER BY id";
#undef ATTUNE_UTC

std::int64_t as_stored(std::int64_t max_trials) {
  return max_trials == 0 ? std::numeric_limits<std::int64_t>::max() : max_trials;
}

std::string array_of(const std::vector<std::int64_t>& ids) {
  return fmt::format("{{{}}}", fmt::join(ids, ","));
}

Result<ClaimStatus> read_status(const SqlRow& row) {
  const auto shape = shape_from_json(nlohmann::json::parse(row.text(0), nullptr, false));
  if (!shape) return shape.error();
  const auto policy = parse_policy(row.text(4));
  if (!policy) return policy.error();
  ClaimStatus status;
  status.subject = {.shape = *shape,
                    .gpu_name = row.text(1),
                    .arch = row.text(2),
                    .replayed = row.integer(3) != 0,
                    .policy = *policy,
                    .templates = row.text(5),
                    .weight = row.real(6),
                    .max_trials = row.integer(7) == as_stored(0) ? 0 : row.integer(7)};
  status.state = row.text(8);
  status.holder = row.text(9);
  status.taken_from = row.text(10);
  status.held_since = row.text(11);
  status.ended_at = row.text(12);
  status.seconds_since_heard = row.real(13);
  status.seconds_left = row.real(14);
  status.times_lost = row.integer(15);
  status.times_done = row.integer(16);
  status.message = row.text(17);
  return status;
}

class PostgresClaims final : public ClaimBoard {
 public:
  explicit PostgresClaims(std::unique_ptr<PostgresDatabase> database) : database_(std::move(database)) {}

  Status enlist(const std::vector<ClaimSubject>& subjects) override {
    // Always in the same order, so that hosts that enlist at once do not wait for each other in a circle.
    std::vector<std::size_t> order(subjects.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::vector<std::string> shapes;
    for (const ClaimSubject& subject : subjects) shapes.push_back(to_json(subject.shape).dump());
    std::sort(order.begin(), order.end(),
              [&](std::size_t a, std::size_t b) { return shapes[a] < shapes[b]; });
    const std::lock_guard lock(mutex_);
    std::vector<std::int64_t> ids(subjects.size());
    const auto status = database_->transact(SqlDatabase::Extent::apart, [&]() -> Status {
      for (const std::size_t i : order) {
        const ClaimSubject& subject = subjects[i];
        const auto id = integer_of(
            *database_, kEnlist,
            {shapes[i], subject.gpu_name, subject.arch, std::int64_t{subject.replayed},
             to_string(subject.policy), subject.templates, subject.weight, as_stored(subject.max_trials)});
        if (!id) return id.error();
        ids[i] = *id;
      }
      return {};
    });
    if (status) ids_ = std::move(ids);
    return status;
  }

  Result<std::optional<Lease>> take(const std::string& holder, double lease_seconds) override {
    const std::lock_guard lock(mutex_);
    const std::string mine = array_of(ids_);
    std::optional<Lease> lease;
    const auto status = database_->transact(SqlDatabase::Extent::apart, [&]() -> Status {
      lease.reset();
      if (auto given_up = database_->query(kGiveUp, {mine, std::int64_t{kMostFailures}}, ignore_row);
          !given_up)
        return given_up;
      return database_->query(kTake, {holder, lease_seconds, mine}, [&](const SqlRow& row) -> Status {
        const auto found = std::find(ids_.begin(), ids_.end(), row.integer(0));
        lease = Lease{.claim = row.integer(0),
                      .token = row.integer(1),
                      .subject = static_cast<std::size_t>(found - ids_.begin()),
                      .taken_from = row.text(2)};
        return {};
      });
    });
    if (!status) return status.error();
    return lease;
  }

  Result<bool> renew(const Lease& lease, double lease_seconds) override {
    return fenced(kRenew, {lease_seconds, lease.claim, lease.token});
  }
  Result<bool> finish(const Lease& lease) override { return fenced(kFinish, {lease.claim, lease.token}); }
  Result<bool> give_back(const Lease& lease, const std::string& why) override {
    return fenced(kGiveBack, {why, lease.claim, lease.token});
  }
  Result<bool> fail_it(const Lease& lease, const std::string& why) override {
    return fenced(kFail, {std::int64_t{kMostFailures}, why, lease.claim, lease.token});
  }

  Result<ClaimCounts> counts() const override {
    const std::lock_guard lock(mutex_);
    ClaimCounts counts;
    const auto status = database_->query(kCounts, {array_of(ids_)}, [&](const SqlRow& row) -> Status {
      counts = {row.integer(0), row.integer(1), row.integer(2), row.integer(3)};
      return {};
    });
    if (!status) return status.error();
    return counts;
  }

  Result<std::vector<ClaimStatus>> all() const override {
    const std::lock_guard lock(mutex_);
    std::vector<ClaimStatus> found;
    const auto status = database_->query(kAll, {}, [&](const SqlRow& row) -> Status {
      auto claim = read_status(row);
      if (!claim) return fail("{}: a claim is damaged: {}", database_->name(), claim.error().message);
      found.push_back(*std::move(claim));
      return {};
    });
    if (!status) return status.error();
    return found;
  }

  Result<std::int64_t> reopen_given_up() override {
    const std::lock_guard lock(mutex_);
    std::int64_t reopened = 0;
    const auto status = database_->transact(SqlDatabase::Extent::apart, [&]() -> Status {
      reopened = 0;
      return database_->query(
          "UPDATE claims SET state = 'open', times_lost = 0 WHERE state = 'given up' RETURNING id", {},
          [&](const SqlRow&) -> Status {
            ++reopened;
            return {};
          });
    });
    if (!status) return status.error();
    return reopened;
  }

 private:
  // True when a row was there to change: the lease is still good.
  Result<bool> fenced(const std::string& sql, const std::vector<SqlValue>& values) {
    const std::lock_guard lock(mutex_);
    bool changed = false;
    const auto status = database_->transact(SqlDatabase::Extent::apart, [&]() -> Status {
      const auto id = integer_of(*database_, sql, values);
      if (!id) return id.error();
      changed = *id != 0;
      return {};
    });
    if (!status) return status.error();
    return changed;
  }

  mutable std::mutex mutex_;
  const std::unique_ptr<PostgresDatabase> database_;
  std::vector<std::int64_t> ids_;  // of the claims, by subject
};

}  // namespace

Result<std::unique_ptr<ClaimBoard>> open_claims(const std::string& location, int server_patience_ms) {
  if (!is_server(location)) {
    return fail(
        "database {}: hosts share shapes over a PostgreSQL server alone; name one with --db "
        "postgresql://user@host/name",
        location);
  }
  PostgresDatabase::Options options;
  options.patience = std::chrono::milliseconds(server_patience_ms);
  auto database = PostgresDatabase::open(location, options);
  if (!database) return database.error();
  return std::unique_ptr<ClaimBoard>(std::make_unique<PostgresClaims>(*std::move(database)));
}

}  // namespace attune
