#include "cli/endpoint_probe.h"

#include "autotuner/llm/http.h"
#include "cli/text.h"

namespace attune::cli {

Result<std::string> probe_endpoint(const std::string& url, const std::string& key,
                                   const std::string& ca_file) {
  constexpr double kTimeoutSeconds = 4;
  std::string models = url;
  while (models.ends_with('/')) models.pop_back();
  HttpRequest request;
  request.url = models + "/models";
  request.bearer = key;
  request.ca_file = ca_file;
  request.timeout_seconds = kTimeoutSeconds;
  const HttpOutcome outcome = http_exchange(request);
  const std::string shown = without_credentials(url);
  if (outcome.fault != HttpFault::none) return Error{outcome.message};
  const long status = outcome.reply.status;
  if (status == 401 || status == 403) return fail("{} refuses the key: HTTP {}", shown, status);
  if (status != 200) return fail("{} answers HTTP {}", shown, status);
  return fmt::format("{}: HTTP 200 in {}", shown, duration(outcome.reply.seconds));
}

}  // namespace attune::cli
