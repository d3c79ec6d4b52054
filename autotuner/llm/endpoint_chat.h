// An OpenAI-compatible endpoint as the source of answers (POST <url>/chat/completions).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "autotuner/llm/call_budget.h"
#include "autotuner/llm/chat.h"
#include "autotuner/llm/http.h"
#include "base/result.h"

namespace attune {

struct EndpointSettings {
  std::string url;               // base, as in "https://host/v1"
  std::string key;               // secret; "": none
  std::string ca_file;           // "": the system's authorities
  double timeout_seconds = 120;  // of one call
  int retries = 3;               // of a call that may fare better later, before its question is given up
};

// Why the settings cannot be used (no http or https, a key that would travel unencrypted), or nothing.
Status check_endpoint(const EndpointSettings& settings);

// The value of an environment variable, which is then wiped from this process and those it starts, and core
// dumps of this process are turned off: a secret must not turn up in a dump or in /proc.
std::string take_secret(const char* variable);

// `budget` and the transport's network are asked before every call. `seed`: of the retries' jitter.
std::unique_ptr<ChatSource> endpoint_chat(EndpointSettings settings, std::unique_ptr<HttpTransport> transport,
                                          CallBudget& budget, SecondsClock now, std::uint64_t seed);

// Seconds that a Retry-After value asks for (RFC 9110, section 10.2.3: seconds, or a date); none if it is
// neither. `unix_now`: the date's reference.
std::optional<double> retry_after_seconds(const std::string& value, std::int64_t unix_now);

}  // namespace attune
