#include "cache/trial_rows.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

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

// The id of the row with this JSON, adding it if it is new.
Result<std::int64_t> id_of(Connection& connection, const std::string& find, const std::string& insert,
                           const std::vector<SqlValue>& values) {
  auto id = connection.integer(find, {values[0]});
  if (!id || *id != 0) return id;
  auto statement = connection.prepare(insert, values);
  if (!statement) return statement.error();
  if (auto status = statement->run(); !status) return status.error();
  return connection.last_insert_id();
}

Result<std::int64_t> shape_id(Connection& connection, const Shape& shape) {
  return id_of(connection, "SELECT id FROM shapes WHERE json = ?",
               "INSERT INTO shapes (json, batch, q_heads, kv_heads, q_len, kv_len, head_dim, dtype, mask, "
               "layout, lse) "
               "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
               {to_json(shape).dump(), shape.batch, shape.q_heads, shape.kv_heads, shape.q_len, shape.kv_len,
                shape.head_dim, std::string(to_string(shape.dtype)), std::string(to_string(shape.mask)),
                std::string(to_string(shape.layout)), std::int64_t{shape.wants_lse}});
}

Result<std::int64_t> device_id(Connection& connection, const DeviceFacts& device) {
  return id_of(connection, "SELECT id FROM devices WHERE json = ?",
               "INSERT INTO devices (json, name, arch, sm_count) VALUES (?, ?, ?, ?)",
               {hardware_json(device), device.name, device.arch, std::int64_t{device.sm_count}});
}

const std::string kInsertTrial =
    "INSERT INTO trials (shape_id, template_name, template_hash, config_json, config_hash, device_id, "
    "driver_version, "
    "driver, replayed, nvrtc_version, policy, outcome, message, median_us, min_us, spread_us, samples, "
    "relative_error, "
    "max_abs_error, cubin_key, cubin_hash, registers, spill_bytes, smem_bytes, compile_ms, sm_clock_mhz, "
    "throttle, "
    "tier, strategy, session, created_at, content_hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

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
                               trial.message};
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
  explicit Columns(const Statement& row) : row_(row) {}
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
  const Statement& row_;
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

Result<std::int64_t> insert_trial(Connection& connection, const Trial& trial,
                                  const std::string& content_hash) {
  auto shape = shape_id(connection, trial.shape);
  if (!shape) return shape;
  auto device = device_id(connection, trial.device);
  if (!device) return device;
  auto values = values_of(trial, *shape, *device);
  values.emplace_back(content_hash);
  auto statement = connection.prepare(kInsertTrial, values);
  if (!statement) return statement.error();
  if (auto status = statement->run(); !status) return status.error();
  return connection.last_insert_id();
}

Result<Trial> TrialReader::read(const Statement& row) {
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
