// HTTP to a language model's endpoint or an attune server, as values. The seam to the network: tests plant
// faults here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attune {

struct HttpRequest {
  std::string url;                        // http or https
  std::string bearer;                     // secret, for the URL's own host alone; "": none
  std::optional<std::string> body;        // JSON to POST; none: GET
  std::vector<std::string> headers = {};  // more of them, as in "Idempotency-Key: 7"
  std::string ca_file;                    // PEM of the authorities to trust; "": the system's
  double connect_timeout_seconds = 10;
  double timeout_seconds = 120;     // for the whole exchange, so that a server that drips ends as well
  std::size_t max_bytes = 4 << 20;  // of the answer's body; beyond it the transfer is dropped
  // For an answer that never ends (status 200): given its bytes as they come, and about once a second
  // nothing; false ends the transfer. Then only a server that says nothing for timeout_seconds is too slow.
  std::function<bool(std::string_view)> on_data = {};
};

enum class HttpFault {
  none,         // there is a reply, of whatever status
  unreachable,  // no connection, or one that broke: may be better in a moment
  timeout,
  tls,        // the certificate is not trusted, or trust cannot be set up
  too_large,  // more than max_bytes
  unusable,   // a URL or protocol that cannot be asked
};

struct HttpReply {
  long status = 0;
  std::string content_type;
  std::string retry_after;  // as the server wrote it, "" when absent
  std::string location;     // of a redirect, which is never followed
  std::string body;
  double seconds = 0;
};

struct HttpOutcome {
  HttpFault fault = HttpFault::none;
  std::string message;  // why, where there is a fault; holds no secret
  HttpReply reply;
};

// Transfers in the background. Used from one thread.
class HttpTransport {
 public:
  virtual ~HttpTransport() = default;  // drops what is under way

  // Does not wait. The id comes back with the outcome.
  virtual std::int64_t start(HttpRequest request) = 0;

  // What has ended since the last call; does not wait.
  virtual std::vector<std::pair<std::int64_t, HttpOutcome>> finished() = 0;
};

// libcurl, with a thread of its own. Certificates and host names are checked, redirects are not followed.
std::unique_ptr<HttpTransport> curl_transport();

// One exchange, waited for.
HttpOutcome http_exchange(const HttpRequest& request);

// The URL as it may be shown: user, password and query taken out.
std::string without_credentials(const std::string& url);

// Whether what is sent to the URL stays on this machine (localhost, 127.x, [::1]).
bool is_loopback(const std::string& url);

}  // namespace attune
