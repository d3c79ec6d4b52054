// The page that people watch: itself, and the data that it asks for.
#include <array>
#include <nlohmann/json.hpp>

#include "dashboard/data.h"
#include "dashboard/page.h"
#include "serve/api.h"

namespace attune::serve {
namespace {

void show_page(Service& /*service*/, Request /*request*/, const Segments& /*segments*/, Respond respond) {
  const Page& page = live_page();
  Response response;
  response.content_type = "text/html; charset=utf-8";
  response.body = page.html;
  response.headers = {{"Content-Security-Policy", page.content_security_policy},
                      {"X-Content-Type-Options", "nosniff"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cache-Control", "no-cache"}};
  respond(std::move(response));
}

void send_data(Service& service, Request request, const Segments& /*segments*/, Respond respond) {
  const auto after = query_number(request, "after", 0, 0, INT64_MAX);
  if (!after) return respond(error_response(400, after.error().message));
  const bool taken = service.tasks().submit([&service, after = *after, respond] {
    const auto data = dashboard_data(service.reader(), {.after_id = after});
    respond(data ? json_response(200, *data) : unavailable(data.error()));
  });
  if (taken) return;
  Response response = error_response(429, "too many requests wait; try again in a moment");
  response.headers.emplace_back("Retry-After", "1");
  respond(std::move(response));
}

constexpr std::array kPageRoutes{
    Route{"GET", "/", 0, true, show_page},
    Route{"GET", "/v1/dashboard", 0, false, send_data},
};

}  // namespace

std::span<const Route> page_routes() {
  return kPageRoutes;
}

}  // namespace attune::serve
