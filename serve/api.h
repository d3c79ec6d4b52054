// The REST interface: which request is answered by what. openapi.json is its description; docs/serve.md
// explains it.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "serve/access.h"
#include "serve/http.h"
#include "serve/service.h"

namespace attune::serve {

// What a path's {placeholder} stood for, in order.
using Segments = std::vector<std::string>;

struct Route {
  std::string_view method;
  std::string_view path;  // "/v1/jobs/{id}"
  std::size_t body_limit;
  bool open;  // answered without a token: holds nothing worth one
  void (*answer)(Service& service, Request request, const Segments& segments, Respond respond);
};

struct ApiOptions {
  Tokens tokens;                   // none: everyone may ask
  std::vector<std::string> hosts;  // names beside localhost and addresses that this server answers to
};

// Admits and routes. Thread safe.
class Api final : public Handler {
 public:
  Api(Service& service, ApiOptions options) : service_(service), options_(std::move(options)) {}

  Admission admit(Request& head) override;
  void handle(Request request, Respond respond) override;

 private:
  struct Match {
    const Route* route = nullptr;  // null: there is no such path, or not with this method
    bool path_known = false;
    Segments segments;
  };
  Match match(const Request& request) const;
  std::optional<Response> check_access(Request& head, const Route* route) const;

  Service& service_;
  const ApiOptions options_;
};

// The routes, by what they are about.
std::span<const Route> job_routes();
std::span<const Route> kernel_routes();
std::span<const Route> page_routes();
std::span<const Route> record_routes();
std::span<const Route> server_routes();

// "12" -> 12, or nothing.
std::optional<std::int64_t> whole_number(std::string_view text);

// A query's whole number in its range, `fallback` where it is absent.
Result<std::int64_t> query_number(const Request& request, const std::string& name, std::int64_t fallback,
                                  std::int64_t least, std::int64_t most);

Response json_response(int status, const nlohmann::json& json);
Response unavailable(const Error& error);  // 503: the database refuses

}  // namespace attune::serve
