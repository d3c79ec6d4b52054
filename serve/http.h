// What the HTTP server and the API say to each other: requests and responses as values. http_server.h moves
// them, router.h answers them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace attune::serve {

// Names as they were sent; looked up without regard to case.
using Headers = std::vector<std::pair<std::string, std::string>>;
// "" where it is absent; the first where there are several.
std::string_view header(const Headers& headers, std::string_view name);

struct Request {
  std::string method;                        // "GET"
  std::string path;                          // decoded, without query: "/v1/jobs/7"
  std::map<std::string, std::string> query;  // decoded
  Headers headers;
  std::string body;
  std::string client;  // who asks: filled in by the router when it admits the request
};

// What is sent as it comes up: a Server-Sent Events stream.
class Stream {
 public:
  virtual ~Stream() = default;

  // What there is to send now, "" for nothing yet. Does not wait. Called on the server's threads, one at a
  // time.
  virtual std::string next() = 0;
  virtual bool ended() const = 0;  // asked after next(): nothing more will come

  // Has `wake` called, from any thread, whenever next() may have something; until the stream is destroyed.
  virtual void listen(std::function<void()> wake) = 0;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers;
  std::shared_ptr<Stream> stream;  // sent after the headers, in place of the body
};

// To be called once, from any thread.
using Respond = std::function<void(Response)>;

// What may be known before the body was read.
struct Admission {
  std::optional<Response> refusal;  // then the body is not read
  std::size_t body_limit = 0;       // bytes
};

class Handler {
 public:
  virtual ~Handler() = default;
  // Both on the server's threads: neither waits for anything long.
  virtual Admission admit(Request& head) = 0;
  virtual void handle(Request request, Respond respond) = 0;
};

std::string_view reason_of(int status);

// {"error": message}
Response error_response(int status, std::string_view message);

// "a%20b" -> "a b"; nothing where a % is not followed by two hexadecimal digits, or a NUL would come out.
std::optional<std::string> percent_decoded(std::string_view text);

// Splits a request's target into path and query; false where it is malformed.
bool read_target(std::string_view target, Request& request);

}  // namespace attune::serve
