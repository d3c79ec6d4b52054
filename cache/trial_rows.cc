#include "cache/trial_rows.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "cache/trial_json.h"

namespace attune {
namespace {

using nlohmann::json;

SqlValue error_value(const std::optional<double>& error) {
  if (!error) return std::monostate();
  return std::isfinite(*error) ? *error : std::numeric_limits<double>::infinity();
}

template <class Value, class Optional>
SqlValue or_null(const Optional& value) {
  if (!value) return std::monostate();
  return static_cast<Value>(*value);
}

// A device's row is the hardware; the driver belongs to the trial, so that an upgrade is not another device.
std::string hardware_json(DeviceFacts facts) {
  facts.driver_version = 0;
  facts.driver.clear();
  return to_json(facts).dump(-1, ' ', false, json::error_handler_t::replace);
}

constexpr const char* kTrialColumns =
    "shape_id, template_name, template_hash, config_json, config_hash, device_id, driver_version, driver, "
    "replayed, nvrtc_version, policy, outcome, message, median_us, min_us, spread_us, samples, "
    "relative_error, max_abs_error, cubin_key, cubin_hash, registers, spill_bytes, smem_bytes, compile_ms, "
    "sm_clock_mhz, throttle, tier, strategy, session, created_at, content_hash";

// "?, ?, ?"
std::string marks(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += i == 0 ? "?" : ", ?";
  return text;
}

std::vector<SqlValue> values_of(const Trial& trial, std::int64_t shape, std::int64_t device) {
  std::vector<SqlValue> values{shape,
                               trial.template_name,
                               trial.template_hash,
                               trial.config_json,
                               trial.config_hash,
                               device,
                               std::int64_t{trial.device.driver_version},
                               trial.device.driver,
                               std::int64_t{trial.replayed},
                               trial.nvrtc_version,
                               to_string(trial.policy),
                               std::string(to_string(trial.outcome)),
                               SqlBytes{trial.message}};
  if (trial.timing) {
    values.insert(values.end(), {trial.timing->median_us, trial.timing->min_us, trial.timing->spread_us,
                                 std::int64_t{trial.timing->samples}});
  } else {
    values.insert(values.end(), 4, std::monostate());
  }
  values.insert(
      values.end(),
      {error_value(trial.relative_error), error_value(trial.max_abs_error), trial.cubin_key, trial.cubin_hash,
       std::int64_t{trial.registers}, trial.spill_bytes, trial.smem_bytes, trial.compile_ms,
       or_null<std::int64_t>(trial.sm_clock_mhz), or_null<std::string>(trial.throttle),
       std::int64_t{trial.final_round ? 0 : 1}, trial.strategy, trial.session, trial.created_at});
  return values;
}

// Takes the columns of a row one after the other.
class Columns {
 public:
  explicit Columns(const SqlRow& row) : row_(row) {}
  std::int64_t integer() { return row_.integer(column_++); }
  int small() { return static_cast<int>(integer()); }
  double real() { return row_.real(column_++); }
  std::string text() { return row_.text(column_++); }
  bool skip_null() {
    if (!row_.is_null(column_)) return false;
    ++column_;
    return true;
  }

 private:
  const SqlRow& row_;
  int column_ = 0;
};

template <class Value, class Parse>
Result<Value> remembered(std::map<std::int64_t, Value>& known, std::int64_t id, const std::string& text,
                         Parse parse) {
  if (auto found = known.find(id); found != known.end()) return found->second;
  Result<Value> value = parse(json::parse(text, nullptr, false));
  if (value) known.emplace(id, *value);
  return value;
}

}  // namespace

// The rest of the order is in TrialReader::read.
const std::string kSelectTrials =
    "SELECT t.id, t.shape_id, (SELECT s.json FROM shapes s WHERE s.id = t.shape_id), t.device_id, d.json, "
    "t.driver_version, t.driver, t.template_name, t.template_hash, t.config_json, t.config_hash, t.replayed, "
    "t.nvrtc_version, t.policy, t.outcome, t.message, t.median_us, t.min_us, t.spread_us, t.samples, "
    "t.relative_error, t.max_abs_error, t.cubin_key, t.cubin_hash, t.registers, t.spill_bytes, t.smem_bytes, "
    "t.compile_ms, t.sm_clock_mhz, t.throttle, t.tier, t.strategy, t.session, t.created_at, t.content_hash "
    "FROM trials t JOIN devices d ON d.id = t.device_id WHERE ";

const std::string kNothingNewer =
    " AND NOT EXISTS (SELECT 1 FROM trials n JOIN devices nd ON nd.id = n.device_id "
    "WHERE n.shape_id = t.shape_id AND n.config_hash = t.config_hash AND n.template_name = t.template_name "
    "AND n.template_hash = t.template_hash AND n.policy = t.policy AND n.replayed = t.replayed "
    "AND nd.name = d.name AND nd.arch = d.arch AND nd.sm_count = d.sm_count "
    "AND (n.created_at, n.id) > (t.created_at, t.id))";

void Where::also(const std::string& condition, SqlValue value) {
  sql += " AND " + condition;
  values.push_back(std::move(value));
}

Where where(const TrialFilter& filter) {
  Where where;
  if (filter.shape) {
    const auto shape = validated(*filter.shape);
    where.also("t.shape_id = (SELECT id FROM shapes WHERE json = ?)",
               to_json(shape ? *shape : *filter.shape).dump());
  }
  if (!filter.template_name.empty()) where.also("t.template_name = ?", filter.template_name);
  if (!filter.template_hash.empty()) where.also("t.template_hash = ?", filter.template_hash);
  if (!filter.gpu_name.empty()) where.also("d.name = ?", filter.gpu_name);
  if (!filter.arch.empty()) where.also("d.arch = ?", filter.arch);
  if (filter.replayed) where.also("t.replayed = ?", std::int64_t{*filter.replayed});
  if (filter.policy) where.also("t.policy = ?", to_string(*filter.policy));
  if (filter.outcome) where.also("t.outcome = ?", std::string(to_string(*filter.outcome)));
  if (!filter.session.empty()) where.also("t.session = ?", filter.session);
  if (!filter.config_hash.empty()) where.also("t.config_hash = ?", filter.config_hash);
  if (filter.after_id > 0) where.also("t.id > ?", filter.after_id);
  return where;
}

Result<std::int64_t> integer_of(SqlDatabase& database, const std::string& sql,
                                const std::vector<SqlValue>& values) {
  std::int64_t integer = 0;
  bool first = true;
  const auto status = database.query(sql, values, [&](const SqlRow& row) -> Status {
    if (std::exchange(first, false)) integer = row.integer(0);
    return {};
  });
  if (!status) return status.error();
  return integer;
}

// The id of the row with this JSON (the first of the values), adding it if it is new. Another writer may add
// it at the same time.
Result<std::int64_t> TrialWriter::id_of(const std::string& table, const std::string& columns,
                                        const std::vector<SqlValue>& values) {
  const std::string key = table + std::get<std::string>(values[0]);
  if (const auto known = ids_.find(key); known != ids_.end()) return known->second;
  const std::string find = "SELECT id FROM " + table + " WHERE json = ?";
  auto id = integer_of(database_, find, {values[0]});
  if (id && *id == 0) {
    id = integer_of(database_,
                    "INSERT INTO " + table + " (" + columns + ") VALUES (" + marks(values.size()) +
                        ") ON CONFLICT DO NOTHING RETURNING id",
                    values);
  }
  if (id && *id == 0) id = integer_of(database_, find, {values[0]});
  if (id) ids_.emplace(key, *id);
  return id;
}

Result<std::vector<SqlValue>> TrialWriter::row_of(const Trial& trial, const std::string& content_hash) {
  const Shape& shape = trial.shape;
  const auto shape_id =
      id_of("shapes", "json, batch, q_heads, kv_heads, q_len, kv_len, head_dim, dtype, mask, layout, lse",
            {to_json(shape).dump(), shape.batch, shape.q_heads, shape.kv_heads, shape.q_len, shape.kv_len,
             shape.head_dim, std::string(to_string(shape.dtype)), std::string(to_string(shape.mask)),
             std::string(to_string(shape.layout)), std::int64_t{shape.wants_lse}});
  if (!shape_id) return shape_id.error();
  const DeviceFacts& device = trial.device;
  const auto device_id =
      id_of("devices", "json, name, arch, sm_count",
            {hardware_json(device), device.name, device.arch, std::int64_t{device.sm_count}});
  if (!device_id) return device_id.error();
  auto values = values_of(trial, *shape_id, *device_id);
  values.emplace_back(content_hash);
  return values;
}

Result<std::int64_t> TrialWriter::add(const Trial& trial, const std::string& content_hash) {
  const auto values = row_of(trial, content_hash);
  if (!values) return values.error();
  return integer_of(
      database_,
      fmt::format("INSERT INTO trials ({}) VALUES ({}) RETURNING id", kTrialColumns, marks(values->size())),
      *values);
}

Result<bool> TrialWriter::add_new(const Trial& trial, const std::string& content_hash) {
  auto values = row_of(trial, content_hash);
  if (!values) return values.error();
  const std::string sql = fmt::format(
      "INSERT INTO trials ({}) SELECT {} WHERE NOT EXISTS (SELECT 1 FROM trials WHERE content_hash = ?) "
      "RETURNING id",
      kTrialColumns, marks(values->size()));
  values->emplace_back(content_hash);
  const auto id = integer_of(database_, sql, *values);
  if (!id) return id.error();
  return *id != 0;
}

Result<Trial> TrialReader::read(const SqlRow& row) {
  Columns columns(row);
  Trial trial;
  trial.id = columns.integer();
  const auto damaged = [&trial](const Error& error) {
    return fail("trial {} is damaged: {}; attune cache verify lists all such trials", trial.id,
                error.message);
  };
  const std::int64_t shape_row = columns.integer();
  auto shape = remembered(shapes_, shape_row, columns.text(), shape_from_json);
  if (!shape) return damaged(shape.error());
  trial.shape = *shape;
  const std::int64_t device_row = columns.integer();
  auto device = remembered(devices_, device_row, columns.text(), device_facts_from_json);
  if (!device) return damaged(device.error());
  trial.device = *device;
  trial.device.driver_version = columns.small();
  trial.device.driver = columns.text();
  trial.template_name = columns.text();
  trial.template_hash = columns.text();
  trial.config_json = columns.text();
  trial.config_hash = columns.text();
  trial.replayed = columns.integer() != 0;
  trial.nvrtc_version = columns.text();
  auto policy = parse_policy(columns.text());
  if (!policy) return damaged(policy.error());
  trial.policy = *policy;
  auto outcome = parse_outcome(columns.text());
  if (!outcome) return damaged(outcome.error());
  trial.outcome = *outcome;
  trial.message = columns.text();
  Timing timing{columns.real(), columns.real(), columns.real(), columns.small()};  // braces: left to right
  if (timing.samples > 0) trial.timing = timing;
  if (!columns.skip_null()) trial.relative_error = columns.real();
  if (!columns.skip_null()) trial.max_abs_error = columns.real();
  trial.cubin_key = columns.text();
  trial.cubin_hash = columns.text();
  trial.registers = columns.small();
  trial.spill_bytes = columns.integer();
  trial.smem_bytes = columns.integer();
  trial.compile_ms = columns.real();
  if (!columns.skip_null()) trial.sm_clock_mhz = columns.small();
  if (!columns.skip_null()) trial.throttle = columns.text();
  trial.final_round = columns.integer() == 0;
  trial.strategy = columns.text();
  trial.session = columns.text();
  trial.created_at = columns.text();
  return trial;
}

}  // namespace attune
