// What an HTTP client may send to `attune serve`: a request's target, the body of a job, a file of tokens.
#include <nlohmann/json.hpp>

#include "fuzz.h"
#include "serve/access.h"
#include "serve/http.h"
#include "serve/job_request.h"

namespace attune {
namespace {

void read_job(std::string_view body) {
  const auto request = serve::parse_job_request(body);
  if (!request) return must_be_one_line(request.error());
  const std::string stored = serve::to_json(*request).dump();
  const auto again = serve::parse_job_request(stored);
  must(again.ok(), "what is stored of a job can be read", again ? stored : again.error().message);
  must(serve::to_json(*again).dump() == stored, "the same request is the same bytes", stored);
}

void read_target(std::string_view target) {
  serve::Request request;
  if (!serve::read_target(target, request)) return;
  must(!request.path.empty() && request.path.front() == '/', "a path begins at the root", target);
  must(request.path.find('\0') == std::string::npos, "a path has no NUL", target);
}

void read_headers(std::string_view value) {
  const serve::Headers headers{
      {"Host", std::string(value)}, {"Origin", std::string(value)}, {"Authorization", std::string(value)}};
  (void)serve::is_host_allowed(value, {"tuner.example"});
  (void)serve::is_cross_site(headers);
  (void)serve::bearer_of(headers);
  (void)serve::is_client_name(value);
  const auto tokens = serve::Tokens::parse(value, "fuzzed");
  if (!tokens) must_be_one_line(tokens.error());
}

}  // namespace
}  // namespace attune

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = attune::text_of(data, size);
  attune::read_job(bytes);
  attune::read_target(bytes);
  attune::read_headers(bytes);
  return 0;
}
