// A workload: the shapes that a sweep tunes, from a JSON file (docs/sweeps.md has the form).
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/shape.h"
#include "cache/trial_store.h"

namespace attune {

// A row of the report. Several rows may be of one shape.
struct WorkloadRow {
  std::string name;  // "Qwen2-0.5B@512", "dense[2,32,1024,128]"; the shape in words where the file names none
  std::string model;  // "" where it belongs to none
  Shape shape;
  double weight = 1;  // how much it matters, as in how often it is asked for
};

struct WorkloadModel {
  std::string name;
  std::int64_t layers = 0;  // 0, here and below: not told
  std::int64_t q_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t embed_dim = 0;
  std::int64_t head_dim = 0;
  std::int64_t mlp_hidden = 0;
};

struct Workload {
  std::vector<WorkloadRow> rows;
  std::vector<WorkloadModel> models;
};

// A list of shapes, or an object with "shapes", "dense", "models" or several of them. Unknown keys, wrong
// types and senseless shapes are errors that name the entry and the key; so is a workload without rows.
Result<Workload> parse_workload(const nlohmann::json& json);

// What programs asked for on GPUs of this name, weighted by how often.
Workload wanted_workload(const std::vector<Wanted>& wanted, const std::string& gpu_name);

// Every n-th row from the i-th, 1 <= i <= n: shards share nothing and are all of it together. Rows of one
// shape stay together.
Workload shard_of(const Workload& workload, std::size_t i, std::size_t n);

}  // namespace attune
