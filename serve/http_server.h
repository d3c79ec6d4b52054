// HTTP/1.1 on TCP: reads requests within limits, hands them to a Handler, sends what it answers. Boost.Beast
// does the parsing; it is behind this header, in one translation unit.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "serve/http.h"

namespace attune::serve {

struct HttpOptions {
  std::string address = "127.0.0.1";  // an IP address
  std::uint16_t port = 0;             // 0: the system chooses
  int threads = 2;
  std::size_t max_connections = 512;  // more are answered with 503 at once
  std::size_t max_header_bytes = 16 << 10;
  // Each is for the whole of it, so that a client that drips bytes ends, too.
  std::chrono::milliseconds header_timeout = std::chrono::seconds(10);
  std::chrono::milliseconds body_timeout = std::chrono::seconds(60);
  std::chrono::milliseconds write_timeout =
      std::chrono::seconds(30);                                       // of a response; of a piece of a stream
  std::chrono::milliseconds idle_timeout = std::chrono::seconds(75);  // between requests of a connection
  std::chrono::milliseconds heartbeat = std::chrono::seconds(15);     // of a stream that has nothing to say
};

class HttpServer {
 public:
  // Listens; requests wait in the backlog until run(). An address in use or not of this machine is an error.
  // `handler` must outlive the server.
  static Result<std::unique_ptr<HttpServer>> listen(const HttpOptions& options, Handler& handler);
  virtual ~HttpServer() = default;  // as stop()

  virtual std::uint16_t port() const = 0;
  virtual void run() = 0;  // starts the threads
  virtual void
  stop() = 0;  // closes all connections and joins the threads; responses that come later are dropped
  virtual std::size_t connections() const = 0;
};

}  // namespace attune::serve
