#include "cli/remote.h"

#include <cstdlib>

#include "autotuner/llm/http.h"
#include "base/json_text.h"

namespace attune::cli {
namespace {

constexpr double kAnswerSeconds = 150;  // a compile may take some
constexpr std::size_t kMostBytes = 256 << 20;

std::string take_token() {
  const char* value = std::getenv("ATTUNE_TOKEN");
  return value == nullptr ? "" : value;
}

RemoteError refused(const Remote& remote, const HttpReply& reply) {
  const auto said = parse_outside_json(reply.body);
  std::string why = said.is_object() ? said.value("error", "") : "";
  if (why.empty()) why = fmt::format("it answers with status {}", reply.status);
  if (reply.status == 401) why += "; set ATTUNE_TOKEN";
  return {fail("{}: {}", without_credentials(remote.url), why), false};
}

}  // namespace

void add_server_flag(CLI::App& app, Remote& remote) {
  app.add_option("--server", remote.url,
                 "An attune server that answers (default: ATTUNE_SERVER); its token: ATTUNE_TOKEN")
      ->envname("ATTUNE_SERVER")
      ->type_name("URL");
}

std::variant<RemoteAnswer, RemoteError> ask_server(Remote& remote, const std::string& path,
                                                   const std::optional<nlohmann::json>& body,
                                                   const std::vector<std::string>& headers) {
  while (remote.url.ends_with('/')) remote.url.pop_back();
  if (remote.token.empty()) remote.token = take_token();
  HttpRequest request;
  request.url = remote.url + path;
  request.bearer = remote.token;
  if (body) request.body = body->dump();
  request.headers = headers;
  request.connect_timeout_seconds = 3;
  request.timeout_seconds = kAnswerSeconds;
  request.max_bytes = kMostBytes;
  HttpOutcome outcome = http_exchange(request);
  if (outcome.fault != HttpFault::none) return RemoteError{fail("{}", outcome.message), true};
  if (outcome.reply.status != 200 && outcome.reply.status != 201) return refused(remote, outcome.reply);
  RemoteAnswer answer;
  answer.json = parse_outside_json(outcome.reply.body);
  answer.bytes = std::move(outcome.reply.body);
  return answer;
}

void say_going_on_here(const Error& error) {
  fmt::print(stderr, "attune: {}; going on without it\n", error.message);
}

}  // namespace attune::cli
