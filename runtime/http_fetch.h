// HTTP for libattune.so, which links no HTTP library: libcurl is opened at run time, when a server is first
// asked.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/result.h"

namespace attune {

struct FetchRequest {
  std::string url;                  // http or https; redirects are not followed
  std::string bearer;               // secret; "": none
  std::optional<std::string> body;  // JSON to POST; none: GET
  double connect_seconds = 2;
  double seconds = 5;  // for the whole of it
  std::size_t max_bytes = 64 << 20;
};

struct FetchReply {
  long status = 0;
  std::string body;
};

// Waits for the answer, of whatever status. An error, one line without secrets: no libcurl on this machine,
// no connection, too slow, a certificate that is not trusted, too much. Certificates and host names are
// checked.
Result<FetchReply> http_fetch(const FetchRequest& request);

}  // namespace attune
