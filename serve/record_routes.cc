// Records, packs and trials: lists, exports and imports.
#include <array>
#include <nlohmann/json.hpp>
#include <sstream>

#include "autotuner/current_records.h"
#include "autotuner/forwarding_store.h"
#include "base/printable.h"
#include "base/time.h"
#include "cache/transfer.h"
#include "cache/trial_json.h"
#include "serve/api.h"

namespace attune::serve {
namespace {

using nlohmann::json;

constexpr std::size_t kMostImportBytes = 64 << 20;

std::string query(const Request& request, const std::string& name) {
  const auto found = request.query.find(name);
  return found == request.query.end() ? "" : found->second;
}

Result<TrialFilter> filter_of(const Request& request) {
  TrialFilter filter;
  filter.gpu_name = query(request, "gpu_name");
  filter.template_name = query(request, "template");
  const std::string replayed = query(request, "replayed");
  if (!replayed.empty() && replayed != "0" && replayed != "1") return fail("'replayed' must be 0 or 1");
  if (!replayed.empty()) filter.replayed = replayed == "1";
  return filter;
}

// Runs on a task thread; refuses where too many wait.
void later(Service& service, const Respond& respond, std::function<Response()> make) {
  const bool taken = service.tasks().submit([respond, make = std::move(make)] { respond(make()); });
  if (taken) return;
  Response response = error_response(429, "too many requests wait; try again in a moment");
  response.headers.emplace_back("Retry-After", "1");
  respond(std::move(response));
}

// The newest time of the config that is served without tuning.
std::optional<double> default_us(const TrialStore& store, const Trial& record) {
  const auto tmpl = find_template(record.template_name);
  if (!tmpl) return std::nullopt;
  TrialFilter filter;
  filter.config_hash = config_hash(canonical_json((*tmpl)->default_config(record.shape, record.device),
                                                  (*tmpl)->space(record.shape, record.device)));
  filter.shape = record.shape;
  filter.template_name = record.template_name;
  filter.template_hash = record.template_hash;
  filter.gpu_name = record.device.name;
  filter.replayed = record.replayed;
  filter.policy = record.policy;
  std::optional<double> found;
  const auto status = store.visit(filter, [&](const Trial& trial) -> Status {
    if (trial.timing) found = trial.timing->median_us;
    return {};
  });
  return status ? found : std::nullopt;
}

json record_json(const TrialStore& store, const Trial& record, const std::string& pack) {
  json row = to_json(record);
  row["device"] = record.device.name;
  row["arch"] = record.device.arch;
  row["tflops"] = attention_flops(record.shape) / record.timing->median_us * 1e-6;
  row["pack"] = pack.empty() ? json() : json(pack);
  const auto fallback = pack.empty() ? default_us(store, record) : std::nullopt;
  row["default_us"] = fallback ? json(*fallback) : json();
  row["speedup_over_default"] = fallback ? json(*fallback / record.timing->median_us) : json();
  return row;
}

void list_records(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  const auto filter = filter_of(request);
  if (!filter) return respond(error_response(400, filter.error().message));
  const bool with_packs = query(request, "packs") == "1";
  later(service, respond, [&service, filter = *filter, with_packs]() -> Response {
    const auto records = current_records(service.reader(), filter);
    if (!records) return unavailable(records.error());
    json list = json::array();
    for (const Trial& record : *records) list.push_back(record_json(service.reader(), record, ""));
    for (const auto& pack : with_packs ? service.packs() : Packs()) {
      for (const Trial& record : pack->records) {
        if (serves(record, record.shape, record.device))
          list.push_back(record_json(service.reader(), record, pack->info.name));
      }
    }
    return json_response(200, {{"records", std::move(list)}});
  });
}

Response lines(std::string body) {
  Response response;
  response.content_type = "application/x-ndjson";
  response.body = std::move(body);
  return response;
}

void export_pack(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  const auto filter = filter_of(request);
  if (!filter) return respond(error_response(400, filter.error().message));
  later(service, respond, [&service, filter = *filter]() -> Response {
    auto records = current_records(service.reader(), filter);
    if (!records) return unavailable(records.error());
    if (records->empty())
      return error_response(404, "there are no records of today's kernels to make a pack of");
    PackInfo info;
    info.made_at = utc_timestamp();
    info.attune = service.options().version;
    info.command = "exported by attune serve";
    auto bytes = to_pack(info, *std::move(records), service.pack_key());
    return bytes ? lines(*std::move(bytes)) : error_response(500, bytes.error().message);
  });
}

void list_packs(Service& service, Request /*request*/, const Segments& /*segments*/, Respond respond) {
  json list = json::array();
  for (const auto& pack : service.packs()) {
    list.push_back({{"name", pack->info.name},
                    {"made_at", pack->info.made_at},
                    {"attune", pack->info.attune},
                    {"records", pack->records.size()},
                    {"signed_by", signers_json(*pack, service.trusted())}});
  }
  respond(json_response(200, {{"packs", std::move(list)}}));
}

void send_pack(Service& service, Request /*request*/, const Segments& segments, Respond respond) {
  for (const auto& pack : service.packs()) {
    if (pack->info.name != segments.front()) continue;
    return later(service, respond, [pack, key = service.pack_key()]() -> Response {
      if (key == nullptr) return lines(pack->bytes);
      auto bytes = signed_pack(*pack, *key);
      return bytes ? lines(*std::move(bytes)) : error_response(500, bytes.error().message);
    });
  }
  respond(error_response(404, fmt::format("there is no pack {}", segments.front())));
}

// Trials of kernels that this attune knows must be legal ones; those of others are history and served to
// nobody.
Status check_legal(const Trial& trial) {
  const auto tmpl = find_template(trial.template_name);
  if (!tmpl) return fail("there is no template '{}'", printable(trial.template_name));
  if ((*tmpl)->hash() != trial.template_hash || serves(trial, trial.shape, trial.device)) return {};
  return fail("the config {} is not legal for {}", trial.config_hash, to_string(trial.shape));
}

class LegalTrials final : public ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  Result<std::int64_t> add_new(const TrialSource& next) override {
    return ForwardingStore::add_new([&next]() -> Result<std::optional<Trial>> {
      auto trial = next();
      if (!trial || !*trial) return trial;
      if (auto status = check_legal(**trial); !status) return status.error();
      return trial;
    });
  }
};

void import_pack(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  later(service, respond, [&service, body = std::move(request.body)]() -> Response {
    const auto pack = parse_pack(body, "sent");
    if (!pack) return error_response(422, pack.error().message);
    if (service.trusted() != nullptr) {
      if (auto status = service.trusted()->check(*pack); !status)
        return error_response(403, status.error().message);
    }
    LegalTrials store(service.store());
    std::size_t at = 0;
    const auto added = store.add_new([&]() -> Result<std::optional<Trial>> {
      if (at == pack->records.size()) return std::optional<Trial>();
      return std::optional<Trial>(pack->records[at++]);
    });
    if (!added) return error_response(422, added.error().message);
    service.answers().clear();
    return json_response(200, {{"records", pack->records.size()},
                               {"added", *added},
                               {"signed_by", signers_json(*pack, service.trusted())}});
  });
}

void export_trials_route(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  const auto filter = filter_of(request);
  if (!filter) return respond(error_response(400, filter.error().message));
  later(service, respond, [&service, filter = *filter]() -> Response {
    std::ostringstream out;
    const auto count = export_trials(service.reader(), filter, out, "the export");
    return count ? lines(std::move(out).str()) : unavailable(count.error());
  });
}

void import_trials_route(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  // They would be served as a pack's records are, with nobody's name to them.
  if (service.trusted() != nullptr)
    return respond(error_response(403,
                                  "this server takes only what a trusted key has signed, and trials carry no "
                                  "signature: send their records as a signed pack"));
  later(service, respond, [&service, body = std::move(request.body)]() -> Response {
    std::istringstream in(body);
    LegalTrials store(service.store());
    const auto summary = import_trials(store, in, "the export");
    if (!summary) return error_response(422, summary.error().message);
    service.answers().clear();
    return json_response(200, {{"trials", summary->read}, {"added", summary->added}});
  });
}

constexpr std::array kRecordRoutes{
    Route{"GET", "/v1/records", 0, false, list_records},
    Route{"GET", "/v1/records/pack", 0, false, export_pack},
    Route{"GET", "/v1/packs", 0, false, list_packs},
    Route{"GET", "/v1/packs/{name}", 0, false, send_pack},
    Route{"POST", "/v1/packs", kMostImportBytes, false, import_pack},
    Route{"GET", "/v1/trials", 0, false, export_trials_route},
    Route{"POST", "/v1/trials", kMostImportBytes, false, import_trials_route},
};

}  // namespace

std::span<const Route> record_routes() {
  return kRecordRoutes;
}

}  // namespace attune::serve
