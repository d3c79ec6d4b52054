#include "autotuner/worker.h"

#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "autotuner/gpu_session.h"
#include "autotuner/worker_protocol.h"
#include "base/worker_process.h"

namespace attune {
namespace {

using nlohmann::json;

json answer(const json& request, std::unique_ptr<GpuSession>& session) {
  const std::string what = request.at("do").get<std::string>();
  if (what == "setup") {
    auto opened = GpuSession::open(setup_from_json(request));
    if (!opened) return {{"error", opened.error().message}};
    session = std::move(*opened);
    return {{"ready", true}};
  }
  if (what == "evaluate") {
    std::optional<double> incumbent_us;
    if (!request.at("incumbent_us").is_null()) incumbent_us = request.at("incumbent_us").get<double>();
    const auto measurement =
        session->evaluate(candidate_from_json(request.at("candidate"), session->space()), incumbent_us);
    return {{"measurement", to_json(measurement)}, {"dying", session->lost()}};
  }
  std::vector<Candidate> candidates;
  for (const json& candidate : request.at("candidates")) {
    candidates.push_back(candidate_from_json(candidate, session->space()));
  }
  json measurements = json::array();
  for (const Measurement& measurement : session->shoot_out(candidates, request.at("rounds").get<int>())) {
    measurements.push_back(to_json(measurement));
  }
  return {{"measurements", measurements}, {"dying", session->lost()}};
}

}  // namespace

int run_worker() {
  end_with_parent();
  std::unique_ptr<GpuSession> session;
  std::string line;
  while (std::getline(std::cin, line)) {
    const json reply = answer(json::parse(line), session);
    std::cout << reply.dump() << std::endl;
    if (reply.contains("error")) return 1;
    if (reply.value("dying", false)) {
      // The context is beyond repair: destructors would only fail on it.
      std::quick_exit(1);
    }
  }
  return 0;
}

}  // namespace attune
