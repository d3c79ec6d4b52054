#include "cache/maintenance.h"

#include "cache/schema.h"
#include "cache/sqlite.h"
#include "cache/trial_json.h"
#include "cache/trial_rows.h"

namespace attune {
namespace {

constexpr std::size_t kMostProblems = 100;

// Runs a check whose every row is a problem, told by `describe`. What stops the check is a problem too.
template <class Describe>
void note_rows(Connection& connection, const std::string& sql, std::vector<std::string>& problems,
               const Describe& describe) {
  auto statement = connection.prepare(sql);
  if (!statement) return problems.push_back(statement.error().message);
  while (problems.size() < kMostProblems) {
    auto row = statement->step();
    if (!row) return problems.push_back(row.error().message);
    if (!*row) return;
    std::string problem = describe(*statement);
    if (!problem.empty()) problems.push_back(std::move(problem));
  }
}

std::string one_line(std::string text) {
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  return text;
}

std::string check_row(const Statement& row, TrialReader& reader) {
  auto trial = reader.read(row);
  if (!trial) return one_line(trial.error().message);
  if (auto status = check_trial(*trial); !status) {
    return one_line(fmt::format("trial {} makes no sense: {}", trial->id, status.error().message));
  }
  if (content_hash(*trial) != row.text(kContentHashColumn)) {
    return fmt::format("trial {} is not what was once stored (its content hash differs)", trial->id);
  }
  return "";
}

// Deletes and counts; foreign keys make sure that no trial loses its shape.
Result<std::int64_t> remove(Connection& connection, const std::string& sql,
                            const std::vector<SqlValue>& values) {
  auto statement = connection.prepare(sql, values);
  if (!statement) return statement.error();
  if (auto status = statement->run(); !status) return status.error();
  return connection.changes();
}

Status remove_all(Connection& connection, const GarbageOptions& options, GarbageReport& report) {
  for (const auto& [name, hashes] : options.current_templates) {
    std::string sql = "DELETE FROM trials WHERE template_name = ?";
    std::vector<SqlValue> values{name};
    for (const auto& hash : hashes) {
      sql += " AND template_hash <> ?";
      values.emplace_back(hash);
    }
    auto trials = remove(connection, sql, values);
    if (!trials) return trials.error();
    report.trials += *trials;
  }
  auto shapes = remove(connection, "DELETE FROM shapes WHERE id NOT IN (SELECT shape_id FROM trials)", {});
  if (!shapes) return shapes.error();
  report.shapes = *shapes;
  auto devices = remove(connection, "DELETE FROM devices WHERE id NOT IN (SELECT device_id FROM trials)", {});
  if (!devices) return devices.error();
  report.devices = *devices;
  return {};
}

std::int64_t bytes_of(const std::filesystem::path& file) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(file, error);
  return error ? 0 : static_cast<std::int64_t>(bytes);
}

}  // namespace

Result<VerifyReport> verify_database(const std::filesystem::path& file) {
  auto opened = open_read_only(file, SqliteOptions{}.busy_timeout_ms);
  if (!opened) return opened.error();
  Connection& connection = **opened;

  VerifyReport report;
  note_rows(connection, "PRAGMA integrity_check(100)", report.problems, [](const Statement& row) {
    const std::string found = row.text(0);
    return found == "ok" ? "" : one_line(found);
  });
  if (!report.ok() && connection.is_busy()) return connection.error();
  note_rows(connection, "PRAGMA foreign_key_check", report.problems, [](const Statement& row) {
    return fmt::format("row {} of {} refers to a row of {} that is not there", row.integer(1), row.text(0),
                       row.text(2));
  });
  const auto counts = connection.integer("SELECT count(*) FROM sqlite_schema WHERE name = 'queued_jobs'");
  if (counts && *counts > 0) {  // since version 7
    note_rows(connection,
              "SELECT client, sum(counted), sum(there) FROM ("
              "SELECT client, count AS counted, 0 AS there FROM queued_jobs UNION ALL "
              "SELECT client, 0, count(*) FROM jobs WHERE state = 'queued' GROUP BY client) "
              "GROUP BY client HAVING sum(counted) <> sum(there)",
              report.problems, [](const Statement& row) {
                return one_line(fmt::format("of client '{}' {} jobs are counted as queued, {} are",
                                            row.text(0), row.integer(1), row.integer(2)));
              });
  }
  TrialReader reader;
  note_rows(connection, kSelectTrials + "1 ORDER BY t.id", report.problems,
            [&reader](const Statement& row) { return check_row(row, reader); });
  for (const auto& [table, count] : {std::pair{"trials", &report.trials}, std::pair{"shapes", &report.shapes},
                                     std::pair{"devices", &report.devices}}) {
    auto rows = connection.integer(fmt::format("SELECT count(*) FROM {}", table));
    if (rows) *count = *rows;
  }
  return report;
}

Result<GarbageReport> collect_garbage(const std::filesystem::path& file, const GarbageOptions& options) {
  auto exists = check_header(file);
  if (!exists) return exists.error();
  if (!*exists) return fail("database {}: does not exist; attune tune makes one", file.string());
  auto opened = open_database(file, {});
  if (!opened) return opened.error();
  Connection& connection = **opened;
  const std::int64_t bytes_before = bytes_of(file);

  GarbageReport report;
  {
    auto transaction = Transaction::begin(connection);
    if (!transaction) return transaction.error();
    if (auto status = remove_all(connection, options, report); !status) return status.error();
    if (options.dry_run) return report;
    if (auto status = transaction->commit(); !status) return status.error();
  }
  // Only tidying from here on: another process in the way, or too little space for it, loses nothing.
  if (report.trials + report.shapes + report.devices > 0) (void)connection.execute("VACUUM");
  (void)connection.execute("PRAGMA wal_checkpoint(TRUNCATE)");
  report.freed_bytes = std::max<std::int64_t>(0, bytes_before - bytes_of(file));
  return report;
}

}  // namespace attune
