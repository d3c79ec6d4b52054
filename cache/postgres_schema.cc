#include "cache/postgres_schema.h"

#include <array>

namespace attune {
namespace {

// Held while the tables are made or changed; "attune" and 1, as bytes of nobody else's.
constexpr const char* kLockSchema = "SELECT pg_advisory_xact_lock(1635021941, 1)";

// Step i leads from version i to i + 1 and is never edited once released: databases made by it exist. Texts
// are compared as bytes, so that times and JSON sort as they do in SQLite.
constexpr std::array<const char*, kPostgresSchemaVersion> kPostgresMigrations{
    R"sql(
CREATE TABLE attune_schema (version BIGINT PRIMARY KEY, applied_at TIMESTAMPTZ NOT NULL DEFAULT now());
CREATE TABLE shapes (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  json TEXT COLLATE "C" NOT NULL UNIQUE,
  batch BIGINT NOT NULL, q_heads BIGINT NOT NULL, kv_heads BIGINT NOT NULL,
  q_len BIGINT NOT NULL, kv_len BIGINT NOT NULL, head_dim BIGINT NOT NULL,
  dtype TEXT COLLATE "C" NOT NULL, mask TEXT COLLATE "C" NOT NULL, layout TEXT COLLATE "C" NOT NULL,
  lse BIGINT NOT NULL
);
CREATE TABLE devices (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  json TEXT COLLATE "C" NOT NULL UNIQUE,
  name TEXT COLLATE "C" NOT NULL, arch TEXT COLLATE "C" NOT NULL, sm_count BIGINT NOT NULL
);
CREATE TABLE trials (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  shape_id BIGINT NOT NULL REFERENCES shapes(id),
  template_name TEXT COLLATE "C" NOT NULL, template_hash TEXT COLLATE "C" NOT NULL,
  config_json TEXT COLLATE "C" NOT NULL, config_hash TEXT COLLATE "C" NOT NULL,
  device_id BIGINT NOT NULL REFERENCES devices(id),
  driver_version BIGINT NOT NULL, driver TEXT COLLATE "C" NOT NULL,
  replayed BIGINT NOT NULL, nvrtc_version TEXT COLLATE "C" NOT NULL, policy TEXT COLLATE "C" NOT NULL,
  outcome TEXT COLLATE "C" NOT NULL, message BYTEA NOT NULL,
  median_us DOUBLE PRECISION, min_us DOUBLE PRECISION, spread_us DOUBLE PRECISION, samples BIGINT,
  relative_error DOUBLE PRECISION, max_abs_error DOUBLE PRECISION,
  cubin_key TEXT COLLATE "C" NOT NULL, cubin_hash TEXT COLLATE "C" NOT NULL,
  registers BIGINT NOT NULL, spill_bytes BIGINT NOT NULL, smem_bytes BIGINT NOT NULL,
  compile_ms DOUBLE PRECISION NOT NULL,
  sm_clock_mhz BIGINT, throttle TEXT COLLATE "C", tier BIGINT NOT NULL,
  strategy TEXT COLLATE "C" NOT NULL, session TEXT COLLATE "C" NOT NULL, created_at TEXT COLLATE "C" NOT NULL,
  content_hash TEXT COLLATE "C" NOT NULL
);
CREATE INDEX trials_by_config ON trials (shape_id, config_hash);
CREATE INDEX trials_by_rank ON trials (shape_id, tier, median_us) WHERE outcome = 'ok';
CREATE INDEX trials_by_session ON trials (session);
CREATE INDEX trials_by_content ON trials (content_hash);
CREATE TABLE identity (id TEXT COLLATE "C" NOT NULL);
INSERT INTO identity VALUES (replace(gen_random_uuid()::text, '-', ''));
CREATE TABLE wanted (
  shape TEXT COLLATE "C" NOT NULL, gpu_name TEXT COLLATE "C" NOT NULL, arch TEXT COLLATE "C" NOT NULL,
  origin TEXT COLLATE "C" NOT NULL,
  count BIGINT NOT NULL, first_at TEXT COLLATE "C" NOT NULL, last_at TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (shape, gpu_name, arch, origin)
);
)sql",
    // Shapes that several hosts share out among themselves (claims.h).
    R"sql(
CREATE TABLE claims (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  shape TEXT COLLATE "C" NOT NULL, gpu_name TEXT COLLATE "C" NOT NULL, arch TEXT COLLATE "C" NOT NULL,
  replayed BIGINT NOT NULL, policy TEXT COLLATE "C" NOT NULL, templates TEXT COLLATE "C" NOT NULL,
  weight DOUBLE PRECISION NOT NULL,
  max_trials BIGINT NOT NULL,
  state TEXT COLLATE "C" NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'held', 'done', 'given up')),
  token BIGINT NOT NULL DEFAULT 0,
  holder TEXT NOT NULL DEFAULT '', taken_from TEXT NOT NULL DEFAULT '',
  times_lost BIGINT NOT NULL DEFAULT 0, times_done BIGINT NOT NULL DEFAULT 0,
  held_since TIMESTAMPTZ, heard_at TIMESTAMPTZ, expires_at TIMESTAMPTZ, ended_at TIMESTAMPTZ,
  message TEXT NOT NULL DEFAULT '',
  UNIQUE (shape, gpu_name, arch, replayed, policy, templates)
);
)sql",
    // Jobs of servers, and what happened in each (job_store.h). A message may quote a compiler: any byte.
    R"sql(
CREATE TABLE jobs (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind TEXT COLLATE "C" NOT NULL, request TEXT COLLATE "C" NOT NULL, client TEXT COLLATE "C" NOT NULL,
  priority BIGINT NOT NULL, idempotency_key TEXT COLLATE "C", device TEXT COLLATE "C" NOT NULL,
  state TEXT COLLATE "C" NOT NULL, message BYTEA NOT NULL, result TEXT COLLATE "C" NOT NULL,
  starts BIGINT NOT NULL,
  created_at TEXT COLLATE "C" NOT NULL, started_at TEXT COLLATE "C" NOT NULL, ended_at TEXT COLLATE "C" NOT NULL,
  holder TEXT COLLATE "C" NOT NULL DEFAULT '', lease_until DOUBLE PRECISION NOT NULL DEFAULT 0,
  UNIQUE (client, idempotency_key)
);
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_client ON jobs (state, client);
CREATE TABLE job_events (
  job_id BIGINT NOT NULL REFERENCES jobs(id), seq BIGINT NOT NULL,
  kind TEXT COLLATE "C" NOT NULL, detail TEXT COLLATE "C" NOT NULL, trial_id BIGINT, best_us DOUBLE PRECISION,
  at TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (job_id, seq),
  UNIQUE (job_id, trial_id)
);
)sql",
    // How many jobs of each client are queued, kept by whatever changes a job (servers of the version before
    // included, which may still be at work). A transaction holds the count of a client from its change on, so
    // it must not go on to another job: two that did would wait for each other.
    R"sql(
DROP INDEX jobs_by_client;
CREATE TABLE queued_jobs (client TEXT COLLATE "C" PRIMARY KEY, count BIGINT NOT NULL) WITH (fillfactor = 50);
CREATE FUNCTION count_queued_job() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP <> 'INSERT' AND OLD.state = 'queued' THEN
    UPDATE queued_jobs SET count = count - 1 WHERE client = OLD.client;
    DELETE FROM queued_jobs WHERE client = OLD.client AND count = 0;
  END IF;
  IF TG_OP <> 'DELETE' AND NEW.state = 'queued' THEN
    INSERT INTO queued_jobs AS known VALUES (NEW.client, 1)
      ON CONFLICT (client) DO UPDATE SET count = known.count + 1;
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER job_added AFTER INSERT ON jobs FOR EACH ROW
  WHEN (NEW.state = 'queued') EXECUTE FUNCTION count_queued_job();
CREATE TRIGGER job_changed AFTER UPDATE OF state ON jobs FOR EACH ROW
  WHEN (OLD.state <> NEW.state AND 'queued' IN (OLD.state, NEW.state)) EXECUTE FUNCTION count_queued_job();
CREATE TRIGGER job_deleted AFTER DELETE ON jobs FOR EACH ROW
  WHEN (OLD.state = 'queued') EXECUTE FUNCTION count_queued_job();
INSERT INTO queued_jobs SELECT client, count(*) FROM jobs WHERE state = 'queued' GROUP BY client;
)sql",
    // Which servers are there, until when (seconds since 1970), and which jobs they can't run.
    R"sql(
CREATE TABLE servers (
  name TEXT COLLATE "C" PRIMARY KEY, device TEXT COLLATE "C" NOT NULL, present_until DOUBLE PRECISION NOT NULL
);
CREATE TABLE declined_jobs (
  job_id BIGINT NOT NULL REFERENCES jobs(id), server TEXT COLLATE "C" NOT NULL, why BYTEA NOT NULL,
  PRIMARY KEY (job_id, server)
);
)sql",
};

Error not_ours(const PostgresConnection& connection, const std::string& why) {
  return fail("{}: {}; nothing was written to it, name another database with --db", connection.name(), why);
}

// The version that is there, 0 where the schema is empty.
Result<std::int64_t> version_of(PostgresConnection& connection) {
  const auto found = connection.run(
      "SELECT current_schema(), count(*) FILTER (WHERE c.relname = 'attune_schema'), count(*), "
      "min(c.relname) "
      "FROM pg_class c WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = "
      "current_schema()) "
      "AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = "
      "'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')");
  if (!found) return found.error();
  if (found->is_null(0, 0))
    return fail("{}: the schema that its search path names does not exist; make it with CREATE SCHEMA",
                connection.name());
  if (found->integer(0, 2) == 0) return 0;
  if (found->integer(0, 1) == 0)
    return not_ours(connection,
                    fmt::format("its schema {} belongs to another application (it has a table {})",
                                found->text(0, 0), found->text(0, 3)));
  const auto version = connection.run("SELECT max(version) FROM attune_schema");
  if (!version) return version.error();
  if (version->integer(0, 0) > kPostgresSchemaVersion)
    return not_ours(connection,
                    fmt::format("has schema version {}, this attune knows up to {}: use a newer attune",
                                version->integer(0, 0), kPostgresSchemaVersion));
  return version->integer(0, 0);
}

Status migrate(PostgresConnection& connection) {
  if (const auto locked = connection.run(kLockSchema); !locked) return locked.error();
  const auto version = version_of(connection);  // others may have been at it meanwhile
  if (!version) return version.error();
  for (std::int64_t step = *version; step < kPostgresSchemaVersion; ++step) {
    if (auto status = connection.run_all(kPostgresMigrations[static_cast<std::size_t>(step)]); !status)
      return status;
    const auto noted = connection.run("INSERT INTO attune_schema (version) VALUES (?)", {step + 1});
    if (!noted) return noted.error();
  }
  return connection.run_all("COMMIT");
}

}  // namespace

Status prepare_schema(PostgresConnection& connection, bool read_only) {
  const auto version = version_of(connection);
  if (!version) return version.error();
  if (*version == 0 && read_only)
    return fail("{}: holds nothing yet; attune tune makes its tables", connection.name());
  if (*version == kPostgresSchemaVersion || read_only) return {};
  if (auto status = connection.run_all("BEGIN"); !status) return status;
  auto migrated = migrate(connection);
  if (!migrated && !connection.lost()) (void)connection.run_all("ROLLBACK");
  return migrated;
}

}  // namespace attune
