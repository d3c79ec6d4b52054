// The list of shapes that programs asked for, in the SQLite store.
#include <nlohmann/json.hpp>

#include "base/time.h"
#include "cache/sqlite_store.h"

namespace attune {
namespace {

// Own counts add up; another origin's are what they are, and grow.
constexpr const char* kAddOwn =
    "INSERT INTO wanted (shape, gpu_name, arch, origin, count, first_at, last_at) "
    "VALUES (?, ?, ?, (SELECT id FROM identity), ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "count = count + excluded.count, last_at = max(last_at, excluded.last_at)";
constexpr const char* kTakeOver =
    "INSERT INTO wanted (shape, gpu_name, arch, count, first_at, last_at, origin) VALUES (?, ?, ?, ?, ?, ?, "
    "?) "
    "ON CONFLICT DO UPDATE SET count = max(count, excluded.count), first_at = min(first_at, "
    "excluded.first_at), "
    "last_at = max(last_at, excluded.last_at)";

Result<Wanted> read_wanted(const Statement& row) {
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

Status SqliteStore::want(const Wanted& wanted) {
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
  if (auto status = check_writable(); !status) return status;
  auto statement = connection_->prepare(own ? kAddOwn : kTakeOver, values);
  if (!statement) return statement.error();
  return statement->run();
}

Result<std::vector<Wanted>> SqliteStore::wanted() const {
  const std::lock_guard lock(mutex_);
  const auto version = connection_->integer("PRAGMA user_version");
  if (!version) return version.error();
  std::vector<Wanted> found;
  if (*version < 4) return found;
  auto statement = connection_->prepare(
      "SELECT shape, gpu_name, arch, origin, count, first_at, last_at FROM wanted "
      "ORDER BY count DESC, last_at DESC, shape");
  if (!statement) return statement.error();
  for (;;) {
    auto row = statement->step();
    if (!row) return row.error();
    if (!*row) return found;
    auto wanted = read_wanted(*statement);
    if (!wanted) return fail("database {}: {}", connection_->file().string(), wanted.error().message);
    found.push_back(*std::move(wanted));
  }
}

}  // namespace attune
