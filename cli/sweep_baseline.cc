#include "cli/sweep_baseline.h"

#include <nlohmann/json.hpp>

#include "cli/target.h"

namespace attune::cli {
namespace {

bool same_question(const nlohmann::json& row, const Shape& shape) {
  return row.at("batch") == shape.batch && row.at("q_heads") == shape.q_heads &&
         row.at("kv_heads") == shape.kv_heads && row.at("seq") == shape.q_len &&
         row.at("seq") == shape.kv_len && row.at("head_dim") == shape.head_dim &&
         row.at("causal") == shape.causal() && shape.dtype == DType::bf16 && !shape.wants_lse;
}

}  // namespace

Result<SweepBaseline> read_baseline(const std::string& path, const Workload& workload) {
  const auto json = read_json_file(path);
  if (!json) return fail("--baseline: {}", json.error().message);
  SweepBaseline baseline;
  baseline.title = "PyTorch SDPA (us)";
  try {
    const auto& environment = json->at("environment");
    baseline.provenance = fmt::format(
        "PyTorch's default scaled_dot_product_attention as timed by `{}` on {} (torch {}, {}), in another "
        "run than attune's times",
        json->at("command").get<std::string>(), environment.at("gpu").get<std::string>(),
        environment.at("torch").get<std::string>(), environment.at("utc").get<std::string>());
    for (const WorkloadRow& row : workload.rows) {
      for (const auto& peer : json->at("rows")) {
        if (!same_question(peer, row.shape) || !peer.contains("peers")) continue;
        const auto& sdpa = peer.at("peers").value("sdpa", nlohmann::json::object());
        if (sdpa.contains("median_us")) baseline.median_us[row.name] = sdpa.at("median_us").get<double>();
      }
    }
  } catch (const nlohmann::json::exception& error) {
    return fail("--baseline: {} is not a result of bench/peers.py ({})", path, error.what());
  }
  return baseline;
}

}  // namespace attune::cli
