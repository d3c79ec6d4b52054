#include "serve/api.h"

#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>

namespace attune::serve {
namespace {

std::vector<std::string_view> split_path(std::string_view path) {
  std::vector<std::string_view> words;
  for (std::size_t begin = 1; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    words.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

bool fits(std::string_view pattern, const std::vector<std::string_view>& words, Segments& segments) {
  const auto expected = split_path(pattern);
  if (expected.size() != words.size()) return false;
  segments.clear();
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (expected[i].starts_with('{')) {
      segments.emplace_back(words[i]);
    } else if (expected[i] != words[i]) {
      return false;
    }
  }
  return true;
}

constexpr std::string_view kLiveness = "/healthz";
constexpr auto kTables = {job_routes, kernel_routes, page_routes, record_routes, server_routes};

}  // namespace

Api::Match Api::match(const Request& request) const {
  const auto words = split_path(request.path);
  Match found;
  for (const auto table : kTables) {
    for (const Route& route : table()) {
      Segments segments;
      if (!fits(route.path, words, segments)) continue;
      found.path_known = true;
      if (route.method != request.method) continue;
      found.route = &route;
      found.segments = std::move(segments);
      return found;
    }
  }
  return found;
}

std::optional<Response> Api::check_access(Request& head, const Route* route) const {
  if (!is_host_allowed(header(head.headers, "Host"), options_.hosts)) {
    return error_response(421, "this server does not answer to that Host; --allow-host NAME names it");
  }
  // A link to the page may stand anywhere.
  const bool open = route != nullptr && route->open && head.method == "GET";
  if (is_cross_site(head.headers) && !open)
    return error_response(403, "pages of other sites may not ask this server");
  head.client = std::string(header(head.headers, "X-Attune-Client"));
  if (head.client.empty()) head.client = "anonymous";
  if (!is_client_name(head.client))
    return error_response(400, "X-Attune-Client must be 1 to 64 letters, digits, '.', '_' or '-'");
  if (options_.tokens.empty() || (route != nullptr && route->open)) return std::nullopt;
  auto client = options_.tokens.client_of(bearer_of(head.headers));
  if (!client) {
    service_.metrics().count_refusal("token");
    Response response = error_response(401, "a token is needed: Authorization: Bearer TOKEN");
    response.headers.emplace_back("WWW-Authenticate", "Bearer");
    return response;
  }
  head.client = *std::move(client);
  return std::nullopt;
}

Admission Api::admit(Request& head) {
  const Match found = match(head);
  if (auto refusal = check_access(head, found.route)) return {std::move(refusal), 0};
  if (found.route == nullptr) {
    return {found.path_known
                ? error_response(405, head.method + " is not for " + head.path)
                : error_response(404, "there is no " + head.path + "; /v1/openapi.json lists what there is"),
            0};
  }
  return {std::nullopt, found.route->body_limit};
}

void Api::handle(Request request, Respond respond) {
  const Match found = match(request);
  const auto begin = std::chrono::steady_clock::now();
  const Respond counted = [this, begin, route = std::string(found.route->path),
                           respond = std::move(respond)](Response response) {
    service_.metrics().requests().count(route, response.status, std::chrono::steady_clock::now() - begin);
    respond(std::move(response));
  };
  auto answer = [this, found, counted, request = std::move(request)]() mutable {
    try {
      found.route->answer(service_, std::move(request), found.segments, counted);
    } catch (const std::exception& surprise) {
      service_.log(fmt::format("unexpected: {}", surprise.what()));
      counted(error_response(500, "unexpected; the server's log has more"));
    }
  };
  // That the process lives is said whatever the database does.
  if (found.route->path == kLiveness) {
    answer();
  } else if (!service_.read(std::move(answer))) {
    counted(error_response(503, "too many requests wait for the database"));
  }
}

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<std::int64_t> query_number(const Request& request, const std::string& name, std::int64_t fallback,
                                  std::int64_t least, std::int64_t most) {
  const auto found = request.query.find(name);
  if (found == request.query.end()) return fallback;
  const auto value = whole_number(found->second);
  if (!value || *value < least || *value > most)
    return fail("'{}' must be a whole number from {} to {}", name, least, most);
  return *value;
}

Response json_response(int status, const nlohmann::json& json) {
  Response response;
  response.status = status;
  response.body = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return response;
}

Response unavailable(const Error& error) {
  Response response = error_response(503, error.message);
  response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace attune::serve
