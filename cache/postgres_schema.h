// The tables on a PostgreSQL server: what marks them as ours, and the steps from one version to the next.
// docs/trial-store.md describes the latest version. Private to cache/.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "cache/postgres.h"

namespace attune {

constexpr std::int64_t kPostgresSchemaVersion = 5;

// Makes the connection's schema (the first of its search path) ours or finds it so: creates the tables where
// there are none at all, migrates what is older, all steps in one transaction. Tables of another application,
// or of a newer attune, are an error, and nothing is written. For reading only nothing is ever written.
Status prepare_schema(PostgresConnection& connection, bool read_only);

}  // namespace attune
