// The list of shapes that programs asked for.
#include <nlohmann/json.hpp>

#include "base/time.h"
#include "cache/sql_store.h"

namespace attune {
namespace {

// Own counts add up; another origin's are what they are, and grow.
constexpr const char* kAddOwn =
    "INSERT INTO wanted (shape, gpu_name, arch, origin, count, first_at, last_at) "
    "VALUES (?, ?, ?, (SELECT id FROM identity), ?, ?, ?) ON CONFLICT (shape, gpu_name, arch, origin) "
    "DO UPDATE SET count = wanted.count + excluded.count, "
    "last_at = CASE WHEN excluded.last_at > wanted.last_at THEN excluded.last_at ELSE wanted.last_at END";
constexpr const char* kTakeOver =
    "INSERT INTO wanted (shape, gpu_name, arch, count, first_at, last_at, origin) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (shape, gpu_name, arch, origin) DO UPDATE SET "
    "count = CASE WHEN excluded.count > wanted.count THEN excluded.count ELSE wanted.count END, "
    "first_at = CASE WHEN excluded.first_at < wanted.first_at THEN excluded.first_at ELSE wanted.first_at "
    "END, "
    "last_at = CASE WHEN excluded.last_at > wanted.last_at THEN excluded.last_at ELSE wanted.last_at END";

Result<Wanted> read_wanted(const SqlRow& row) {
  const auto shape = shape_from_json(nlohmann::json::parse(row.text(0), nullptr, false));
  if (!shape) return shape.error();
  return Wanted{.shape = *shape,
                .gpu_name = row.text(1),
                .arch = row.text(2),
                .count = row.integer(4),
                .first_at = row.text(5),
                .last_at = row.text(6),
                .origin = row.text(3)};
}

}  // namespace

Status SqlStore::want(const Wanted& wanted) {
  const auto shape = validated(wanted.shape);
  if (!shape) return fail("the wanted shape was not stored: {}", shape.error().message);
  if (wanted.count < 1) return fail("the wanted shape was not stored: its count is {}", wanted.count);
  const std::string now = utc_timestamp();
  std::vector<SqlValue> values{to_json(*shape).dump(),
                               wanted.gpu_name,
                               wanted.arch,
                               wanted.count,
                               wanted.first_at.empty() ? now : wanted.first_at,
                               wanted.last_at.empty() ? now : wanted.last_at};
  const bool own = wanted.origin.empty();
  if (!own) values.emplace_back(wanted.origin);
  const std::lock_guard lock(mutex_);
  return database_->transact(SqlDatabase::Extent::one, [&]() -> Status {
    return database_->query(own ? kAddOwn : kTakeOver, values, [](const SqlRow&) { return Status(); });
  });
}

Result<std::vector<Wanted>> SqlStore::wanted() const {
  const std::lock_guard lock(mutex_);
  const auto there = database_->has_wanted();
  if (!there) return there.error();
  std::vector<Wanted> found;
  if (!*there) return found;
  const auto status = database_->query(
      "SELECT shape, gpu_name, arch, origin, count, first_at, last_at FROM wanted "
      "ORDER BY count DESC, last_at DESC, shape",
      {}, [&](const SqlRow& row) -> Status {
        auto wanted = read_wanted(row);
        if (!wanted) return fail("{}: {}", database_->name(), wanted.error().message);
        found.push_back(*std::move(wanted));
        return {};
      });
  if (!status) return status.error();
  return found;
}

}  // namespace attune
