#include "autotuner/workload.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/printable.h"
#include "cache/wanted.h"

namespace attune {
namespace {

using Json = nlohmann::json;

// Reads an object's members and remembers which, so that the rest can be told unknown.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object.is_object()) note(fail("{} must be an object", where_));
  }

  bool has(const char* key) const { return object_.is_object() && object_.contains(key); }

  template <class T>
  T take(const char* key, T fallback) {
    seen_.insert(key);
    if (!has(key)) return fallback;
    try {
      const Json& value = object_.at(key);
      if constexpr (std::is_same_v<T, std::int64_t>) {
        if (!value.is_number_integer()) throw std::runtime_error("an integer");
      }
      return value.get<T>();
    } catch (const std::exception&) {
      note(fail("{}: '{}' has a value of the wrong kind: {}", where_, key, object_.at(key).dump()));
      return fallback;
    }
  }

  std::int64_t need(const char* key) {
    if (!has(key)) note(fail("{}: '{}' is missing", where_, key));
    return take<std::int64_t>(key, 1);
  }

  void note(const Error& error) {
    if (!error_) error_ = error;
  }

  Status finish() {
    if (error_) return *error_;
    for (const auto& [key, value] : object_.items()) {
      if (!seen_.contains(key)) return fail("{}: unknown key '{}'", where_, printable(key));
    }
    return {};
  }

 private:
  const Json& object_;
  std::string where_;
  std::set<std::string> seen_;
  std::optional<Error> error_;
};

Mask mask_of(Reader& reader) {
  const bool causal = reader.take("causal", false);
  const auto mask = reader.take("mask", std::string(causal ? "causal" : "none"));
  const auto parsed = parse_mask(mask);
  if (!parsed) reader.note(parsed.error());
  return parsed ? *parsed : Mask::none;
}

Result<WorkloadRow> row_from(const Json& json, const std::string& where, const std::string& name) {
  Reader reader(json, where);
  WorkloadRow row;
  row.name = reader.take("name", name);
  row.model = reader.take("model", std::string());
  row.weight = reader.take("weight", 1.0);
  Shape& shape = row.shape;
  shape.batch = reader.take<std::int64_t>("batch", 1);
  shape.q_heads = reader.need("q_heads");
  shape.kv_heads = reader.take<std::int64_t>("kv_heads", shape.q_heads);
  shape.q_len = reader.need(reader.has("seq") ? "seq" : "q_len");
  shape.kv_len = reader.take<std::int64_t>("kv_len", shape.q_len);
  shape.head_dim = reader.need("head_dim");
  shape.wants_lse = reader.take("lse", false);
  shape.mask = mask_of(reader);
  const auto dtype = parse_dtype(reader.take("dtype", std::string("bf16")));
  const auto layout = parse_layout(reader.take("layout", std::string("bhsd")));
  if (!dtype) reader.note(dtype.error());
  if (!layout) reader.note(layout.error());
  if (!(row.weight > 0)) reader.note(fail("{}: 'weight' is {}, must be above 0", where, row.weight));
  if (auto status = reader.finish(); !status) return status.error();
  shape.dtype = *dtype;
  shape.layout = *layout;
  const auto valid = validated(shape);
  if (!valid) return fail("{}: {}", where, valid.error().message);
  shape = *valid;
  if (row.name.empty()) row.name = to_string(shape);
  return row;
}

Status add_rows(const Json& list, const char* key, Workload& workload) {
  if (!list.is_array()) return fail("'{}' must be a list of shapes", key);
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto row = row_from(list[i], fmt::format("{}[{}]", key, i), "");
    if (!row) return row.error();
    const Shape& s = row->shape;
    if (key == std::string_view("dense") && !list[i].contains("name"))
      row->name = fmt::format("dense[{},{},{},{}]", s.batch, s.q_heads, s.q_len, s.head_dim);
    workload.rows.push_back(*std::move(row));
  }
  return {};
}

// A model at each length: its attention in a forward pass.
Status add_model(const Json& json, const std::string& where, const std::vector<std::int64_t>& lengths,
                 std::int64_t batch, bool causal, Workload& workload) {
  Reader reader(json, where);
  WorkloadModel model;
  model.name = reader.take("name", std::string());
  model.q_heads = reader.need("q_heads");
  model.kv_heads = reader.take<std::int64_t>("kv_heads", model.q_heads);
  model.head_dim = reader.need("head_dim");
  model.layers = reader.take<std::int64_t>("layers", 0);
  model.embed_dim = reader.take<std::int64_t>("embed_dim", 0);
  model.mlp_hidden = reader.take<std::int64_t>("mlp_hidden", 0);
  if (model.name.empty()) reader.note(fail("{}: 'name' is missing", where));
  if (auto status = reader.finish(); !status) return status.error();
  for (const std::int64_t length : lengths) {
    const auto shape = validated({.batch = batch,
                                  .q_heads = model.q_heads,
                                  .kv_heads = model.kv_heads,
                                  .q_len = length,
                                  .kv_len = length,
                                  .head_dim = model.head_dim,
                                  .mask = causal ? Mask::causal_bottom_right : Mask::none});
    if (!shape) return fail("{}: {}", where, shape.error().message);
    workload.rows.push_back({fmt::format("{}@{}", model.name, length), model.name, *shape, 1});
  }
  workload.models.push_back(std::move(model));
  return {};
}

}  // namespace

Result<Workload> parse_workload(const Json& json) {
  Workload workload;
  if (json.is_array()) {
    if (auto status = add_rows(json, "shapes", workload); !status) return status.error();
  } else {
    Reader reader(json, "the workload");
    (void)reader.take("about", std::string());
    (void)reader.take("counting", std::string());
    const auto shapes = reader.take("shapes", Json::array());
    const auto dense = reader.take("dense", Json::array());
    const auto models = reader.take("models", Json::array());
    const auto lengths = reader.take("model_sequence_lengths", std::vector<std::int64_t>());
    const auto batch = reader.take<std::int64_t>("model_batch", 1);
    const bool causal = reader.take("model_causal", true);
    if (!models.is_array()) return fail("'models' must be a list");
    if (!models.empty() && lengths.empty())
      return fail("'model_sequence_lengths' is missing: a list of lengths");
    if (auto status = reader.finish(); !status) return status.error();
    if (auto status = add_rows(dense, "dense", workload); !status) return status.error();
    if (auto status = add_rows(shapes, "shapes", workload); !status) return status.error();
    for (std::size_t i = 0; i < models.size(); ++i) {
      const auto where = fmt::format("models[{}]", i);
      if (auto status = add_model(models[i], where, lengths, batch, causal, workload); !status)
        return status.error();
    }
  }
  if (workload.rows.empty()) return fail("there are no shapes in it");
  return workload;
}

Workload wanted_workload(const std::vector<Wanted>& wanted, const std::string& gpu_name) {
  Workload workload;
  for (const Wanted& entry : joined(wanted)) {
    if (entry.gpu_name != gpu_name) continue;
    workload.rows.push_back({to_string(entry.shape), "", entry.shape, static_cast<double>(entry.count)});
  }
  return workload;
}

Workload shard_of(const Workload& workload, std::size_t i, std::size_t n) {
  Workload shard;
  shard.models = workload.models;
  std::vector<Shape> shapes;  // in the order in which they first occur
  for (const WorkloadRow& row : workload.rows) {
    auto place = std::find(shapes.begin(), shapes.end(), row.shape);
    if (place == shapes.end()) place = shapes.insert(shapes.end(), row.shape);
    if (static_cast<std::size_t>(place - shapes.begin()) % n == i - 1) shard.rows.push_back(row);
  }
  return shard;
}

}  // namespace attune
