#pragma once

#include <string>

#include "base/result.h"

namespace attune::cli {

// Asks an OpenAI-compatible endpoint for its models (GET <url>/models), a few seconds at most. The answer is
// a line for people ("HTTP 200 in 0.21 s"). Neither answer nor error ever holds the key, nor a password in
// the URL.
// `ca_file`: PEM of the authorities to trust, "" for the system's.
Result<std::string> probe_endpoint(const std::string& url, const std::string& key,
                                   const std::string& ca_file = "");

}  // namespace attune::cli
