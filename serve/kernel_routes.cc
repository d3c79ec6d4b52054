// Kernels: the best known config of a shape, and its machine code.
#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "autotuner/compile_report.h"
#include "autotuner/current_records.h"
#include "autotuner/lookup_answer.h"
#include "base/json_text.h"
#include "base/printable.h"
#include "serve/api.h"
#include "serve/job_request.h"

namespace attune::serve {
namespace {

using nlohmann::json;

constexpr std::size_t kMostBodyBytes = 64 << 10;
constexpr int kMostCompiles = 64;  // waiting or under way for requests

// Integers and words of a query as the JSON that shape_from_json() takes; "shape=B,H,S,D" stands for four.
Result<json> shape_json_of(const Request& request) {
  json shape = json::object();
  const auto take = [&](const char* key) {
    const auto found = request.query.find(key);
    return found == request.query.end() ? std::string() : found->second;
  };
  std::array<std::int64_t, 4> numbers{};
  if (const std::string text = take("shape"); !text.empty()) {
    std::string_view rest = text;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const auto number = whole_number(rest.substr(0, rest.find(',')));
      if (!number || (i + 1 < numbers.size()) != (rest.find(',') != std::string_view::npos))
        return fail("'shape' must be four whole numbers B,H,S,D, as in 4,32,4096,128");
      numbers[i] = *number;
      rest.remove_prefix(std::min(rest.size(), rest.find(',') + 1));
    }
    shape = {{"batch", numbers[0]}, {"q_heads", numbers[1]}, {"kv_heads", numbers[1]},
             {"q_len", numbers[2]}, {"kv_len", numbers[2]},  {"head_dim", numbers[3]}};
  }
  for (const char* key : {"batch", "q_heads", "kv_heads", "q_len", "kv_len", "head_dim"}) {
    const std::string text = take(key);
    if (text.empty()) continue;
    const auto number = whole_number(text);
    if (!number) return fail("'{}' must be a whole number", key);
    shape[key] = *number;
  }
  shape["dtype"] = take("dtype").empty() ? "bf16" : take("dtype");
  shape["mask"] = take("mask").empty() ? "none" : take("mask");
  shape["layout"] = take("layout").empty() ? "bhsd" : take("layout");
  const std::string lse = take("lse");
  if (!lse.empty() && lse != "0" && lse != "1" && lse != "true" && lse != "false")
    return fail("'lse' must be 0 or 1");
  shape["lse"] = lse == "1" || lse == "true";
  return shape;
}

// What is asked about, from an object {"shape", "device" | "arch", "gpu_name", "template"}.
Result<Target> target_from(const json& asked, const Service& service) {
  Target target;
  const auto shape = shape_of_request(asked.value("shape", json()));
  if (!shape) return shape.error();
  target.shape = *shape;
  target.device.facts = service.devices().device;
  if (const auto device = asked.find("device"); device != asked.end()) {
    auto facts = device_facts_from_json(*device);
    if (!facts) return fail("'device': {}", facts.error().message);
    target.device.facts = *std::move(facts);
  } else if (const std::string arch = asked.value("arch", ""); !arch.empty()) {
    auto facts = nominal_facts(arch);
    if (!facts) return fail("'arch': {}", facts.error().message);
    target.device.facts = *std::move(facts);
  }
  if (const std::string name = asked.value("gpu_name", ""); !name.empty()) target.device.facts.name = name;
  const auto tmpl = choose_template(asked.value("template", ""), target.shape, target.device);
  if (!tmpl) return tmpl.error();
  target.tmpl = *tmpl;
  return target;
}

// Where all members that are there have the type that they must have, or why not.
Status check_types(const json& asked, const std::vector<std::string>& texts,
                   const std::vector<std::string>& others) {
  if (!asked.is_object()) return fail("the body must be a JSON object");
  for (const auto& [key, value] : asked.items()) {
    const bool is_text = std::find(texts.begin(), texts.end(), key) != texts.end();
    if (!is_text && std::find(others.begin(), others.end(), key) == others.end())
      return fail("unknown key '{}'", printable(key));
    if (is_text && !value.is_string()) return fail("'{}' must be a string", key);
  }
  return {};
}

// What a request asks about; an error is the client's.
using ReadQuestion = Result<json> (*)(const Request& request);

Result<json> question_of_query(const Request& request) {
  const auto shape = shape_json_of(request);
  if (!shape) return shape.error();
  json asked = {{"shape", *shape}};
  for (const char* key : {"arch", "gpu_name", "template", "nvrtc_version"}) {
    if (const auto found = request.query.find(key); found != request.query.end()) asked[key] = found->second;
  }
  return asked;
}

Result<json> question_of_body(const Request& request) {
  json asked = parse_outside_json(request.body);
  if (asked.is_discarded()) return fail("the body is not JSON");
  if (auto status =
          check_types(asked, {"arch", "gpu_name", "template", "nvrtc_version"}, {"shape", "device"});
      !status)
    return status.error();
  return asked;
}

struct Asked {
  std::shared_ptr<const AnswerCache::Answer> answer;  // null: refusal says why
  Response refusal;
};

// Asks the database, and keeps the answer for all who ask the same.
Asked ask_database(Service& service, const Request& request, const std::string& question, ReadQuestion read) {
  const auto asked = read(request);
  if (!asked) return {nullptr, error_response(400, asked.error().message)};
  const auto ticket = service.answers().ticket();
  const auto target = target_from(*asked, service);
  if (!target) return {nullptr, error_response(422, target.error().message)};
  const auto found = lookup(
      &service.reader(), service.packs(), target->shape, target->device.facts, MeasurementPolicy{},
      asked->value("nvrtc_version", service.compiler().nvrtc_version()),
      [&](const Trial& trial) { return serves(trial, target->shape, target->device.facts); },
      [&](const Trial& trial) { return served_before(trial, target->shape, target->device.facts); });
  if (!found) return {nullptr, unavailable(found.error())};
  const json body = answer_json(*target, *found);
  auto answer = std::make_shared<AnswerCache::Answer>(
      AnswerCache::Answer{json_response(200, body).body, body["provenance"].get<std::string>()});
  service.answers().keep(question, answer, ticket);
  return {std::move(answer), {}};
}

Response response_of(Service& service, const AnswerCache::Answer& answer) {
  service.metrics().count_lookup(answer.provenance);
  Response response;
  response.body = answer.body;
  return response;
}

void answer_lookup(Service& service, const Request& request, const std::string& question, ReadQuestion read,
                   const Respond& respond) {
  const auto found = service.answers().find(question);
  if (!found.answer) {
    Asked asked = ask_database(service, request, question, read);
    return respond(asked.answer ? response_of(service, *asked.answer) : std::move(asked.refusal));
  }
  respond(response_of(service, *found.answer));
  if (!found.refresh) return;
  const bool taken = service.refreshes().submit([&service, request, question, read] {
    try {
      if (ask_database(service, request, question, read).answer) return;
    } catch (const std::exception& surprise) {
      service.log(fmt::format("unexpected: {}", surprise.what()));
    }
    service.answers().give_up(question);
  });
  if (!taken) service.answers().give_up(question);
}

void lookup_by_query(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  std::string question;
  for (const auto& [key, value] : request.query) question += key + "=" + value + "\n";
  answer_lookup(service, request, question, question_of_query, respond);
}

void lookup_by_body(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  answer_lookup(service, request, request.body, question_of_body, respond);
}

Response busy() {
  Response response = error_response(429, "too many compiles wait; try again in a moment");
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

void compile(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  const json asked = parse_outside_json(request.body);
  if (asked.is_discarded()) return respond(error_response(400, "the body is not JSON"));
  if (const auto status = check_types(asked, {"arch", "gpu_name", "template", "template_hash"},
                                      {"shape", "device", "config"});
      !status)
    return respond(error_response(400, status.error().message));
  auto target = target_from(asked, service);
  if (!target) return respond(error_response(422, target.error().message));
  if (const std::string hash = asked.value("template_hash", "");
      !hash.empty() && hash != target->tmpl->hash())
    return respond(error_response(
        409,
        fmt::format("the template {} of this server is of another version of attune", target->tmpl->name())));
  const DeviceFacts& facts = target->device.facts;
  const json wanted = asked.value("config", json("default"));
  auto config = wanted == "default" ? Result<Config>(target->tmpl->default_config(target->shape, facts))
                                    : config_from_json(wanted, target->tmpl->space(target->shape, facts));
  if (!config) return respond(error_response(422, fmt::format("'config': {}", config.error().message)));
  static std::atomic<int> under_way{0};
  if (++under_way > kMostCompiles) {
    --under_way;
    return respond(busy());
  }
  auto source = target->tmpl->render(target->shape, facts, *config);
  const std::string arch = facts.arch;
  service.compiler().submit(
      std::move(source), arch,
      [target = *std::move(target), config = *std::move(config), respond](const CompiledKernel& kernel) {
        --under_way;
        json report = compile_report(target, config, kernel);
        report["template_hash"] = target.tmpl->hash();
        report["cubin"] = kernel.outcome == CompileOutcome::ok ? json("/v1/cubins/" + kernel.key) : json();
        respond(json_response(200, report));
      });
}

bool is_cubin_key(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void send_cubin(Service& service, Request request, const Segments& segments, Respond respond) {
  const std::string& key = segments.front();
  // Names of the store alone: nothing else becomes a path.
  if (!is_cubin_key(key)) return respond(error_response(404, "a cubin's key is 64 hexadecimal digits"));
  const std::string known(header(request.headers, "If-None-Match"));
  const bool taken = service.tasks().submit([&service, key, known, respond] {
    auto kernel = service.compiler().store().find(key);
    if (!kernel || kernel->outcome != CompileOutcome::ok)
      return respond(error_response(404, "there is no such cubin; POST /v1/compile makes one"));
    Response response;
    const std::string tag = '"' + kernel->cubin_hash + '"';
    response.status = known == tag ? 304 : 200;
    response.content_type = "application/octet-stream";
    if (response.status == 200) response.body = std::move(kernel->cubin);
    response.headers = {{"ETag", tag},
                        {"X-Attune-Cubin-Hash", kernel->cubin_hash},
                        {"X-Attune-Entry", kernel->entry},
                        {"X-Attune-Arch", kernel->arch},
                        {"Cache-Control", "max-age=31536000, immutable"}};
    respond(std::move(response));
  });
  if (!taken) respond(busy());
}

constexpr std::array kKernelRoutes{
    Route{"GET", "/v1/lookup", 0, false, lookup_by_query},
    Route{"POST", "/v1/lookup", kMostBodyBytes, false, lookup_by_body},
    Route{"POST", "/v1/compile", kMostBodyBytes, false, compile},
    Route{"GET", "/v1/cubins/{key}", 0, false, send_cubin},
};

}  // namespace

std::span<const Route> kernel_routes() {
  return kKernelRoutes;
}

}  // namespace attune::serve
