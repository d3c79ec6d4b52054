// The server itself: health, metrics, what it measures on, and its description.
#include <array>
#include <nlohmann/json.hpp>

#include "autotuner/strategy.h"
#include "embedded/openapi_document.h"
#include "serve/api.h"

namespace attune::serve {
namespace {

using nlohmann::json;

void health(Service& /*service*/, Request /*request*/, const Segments& /*segments*/, Respond respond) {
  respond(json_response(200, {{"status", "ok"}}));
}

// Ready: the database answers and the workers take jobs.
void readiness(Service& service, Request /*request*/, const Segments& /*segments*/, Respond respond) {
  if (!service.is_ready()) return respond(error_response(503, "the server is ending"));
  const auto counts = service.jobs().counts();
  if (!counts) return respond(unavailable(counts.error()));
  respond(json_response(200, {{"status", "ready"}}));
}

void metrics(Service& service, Request /*request*/, const Segments& /*segments*/, Respond respond) {
  const auto counts = service.jobs().counts();
  if (!counts) return respond(unavailable(counts.error()));
  Response response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  response.body = service.metrics().text({.jobs = *counts,
                                          .connections = service.connections(),
                                          .followers = service.hub().followers(),
                                          .ready = service.is_ready()});
  respond(std::move(response));
}

void describe(Service& service, Request /*request*/, const Segments& /*segments*/, Respond respond) {
  const SweepTarget& devices = service.devices();
  json recordings = json::array();
  for (const RecordingInfo& info : devices.recordings) {
    recordings.push_back({{"name", info.name},
                          {"shape", to_json(info.shape)},
                          {"template", info.template_name},
                          {"trials", info.trials},
                          {"recorded_at", info.recorded_at}});
  }
  json names = json::array();
  for (const StrategyInfo& info : strategies()) names.push_back({{"name", info.name}, {"help", info.help}});
  json templates = json::array();
  for (const AttentionTemplate* tmpl : attention_templates())
    templates.push_back({{"name", tmpl->name()}, {"hash", tmpl->hash()}});
  respond(json_response(200, {{"version", service.options().version},
                              {"device", to_json(devices.device)},
                              {"replays", devices.replays},
                              {"gpus", devices.gpus},
                              {"recordings", std::move(recordings)},
                              {"workers", service.workers()},
                              {"nvrtc_version", service.compiler().nvrtc_version()},
                              {"strategies", std::move(names)},
                              {"templates", std::move(templates)}}));
}

void openapi(Service& /*service*/, Request /*request*/, const Segments& /*segments*/, Respond respond) {
  Response response;
  response.body = openapi_document().front().contents;
  respond(std::move(response));
}

constexpr std::array kServerRoutes{
    Route{"GET", "/healthz", 0, true, health},          Route{"GET", "/readyz", 0, true, readiness},
    Route{"GET", "/metrics", 0, false, metrics},        Route{"GET", "/v1/server", 0, false, describe},
    Route{"GET", "/v1/openapi.json", 0, true, openapi},
};

}  // namespace

std::span<const Route> server_routes() {
  return kServerRoutes;
}

}  // namespace attune::serve
