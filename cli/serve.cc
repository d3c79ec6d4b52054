// attune serve: tune, look up and compile over HTTP.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>

#include "autotuner/llm/open_chat.h"
#include "autotuner/sweep_arms.h"
#include "cache/location.h"
#include "cli/command.h"
#include "cli/database_flag.h"
#include "cli/interrupt.h"
#include "cli/pack_signers.h"
#include "cli/process_name.h"
#include "cli/search_flags.h"
#include "cli/text.h"
#include "cli/version.h"
#include "serve/api.h"
#include "serve/http_server.h"
#include "serve/service.h"

namespace attune::cli {
namespace {

constexpr auto kWakeUp = std::chrono::milliseconds(50);  // how soon a signal is noticed
constexpr const char* kTokenVariable = "ATTUNE_TOKEN";

constexpr const char* kServeExamples = R"(Examples:
  attune serve
  attune serve --listen 127.0.0.1:8750 --db team.db --device recorded:h100-dense-4096-d128
  attune serve --listen 0.0.0.0:8750 --token-file tokens --gpus all
  attune serve --db postgresql://tuner@db.example/attune --gpus all

Servers on one PostgreSQL database share its jobs; a file has one server at a time.
Listens on the loopback address unless told otherwise. Any other address needs tokens (--token-file, or one in
ATTUNE_TOKEN), and what is sent is not encrypted: TLS belongs to a proxy in front. docs/serve.md has the whole.)";

struct ServeFlags {
  std::string listen = "127.0.0.1:8750";
  std::string database;
  std::string device = "auto";
  std::string gpus;
  std::string token_file;
  TrustFlags trust;
  std::string pack_key;
  std::vector<std::string> hosts;
  serve::HttpOptions http;
  JobLimits limits{.queued = 20'000, .queued_of_client = 10'000};
  int threads = 0;
  std::string name;
  double lease_seconds = 30;
  std::vector<std::string> llm_prices;
  std::int64_t llm_max_calls = 50;
  double llm_max_dollars = 0;
  bool require_gpu = false;
};

// "127.0.0.1:8750", "[::1]:8750".
Status parse_listen(const std::string& text, serve::HttpOptions& http) {
  const std::size_t colon = text.rfind(':');
  const auto port = colon == std::string::npos ? std::nullopt : serve::whole_number(text.substr(colon + 1));
  if (!port || *port < 0 || *port > 65535)
    return fail("--listen '{}': must be ADDRESS:PORT, as in 127.0.0.1:8750 or [::1]:8750", text);
  http.address = text.substr(0, colon);
  if (http.address.starts_with('[') && http.address.ends_with(']'))
    http.address = http.address.substr(1, http.address.size() - 2);
  http.port = static_cast<std::uint16_t>(*port);
  return {};
}

// From the file, or the variable, which is then taken out of the environment: children need not know it.
Result<serve::Tokens> read_tokens(const ServeFlags& flags) {
  const char* value = std::getenv(kTokenVariable);
  const std::string token = value == nullptr ? "" : value;
  unsetenv(kTokenVariable);
  if (!flags.token_file.empty()) return serve::Tokens::from_file(flags.token_file);
  if (!token.empty()) return serve::Tokens::parse(token, kTokenVariable);
  return serve::Tokens();
}

// What jobs may ask a language model for: nothing without ATTUNE_LLM_URL. The key is read once.
Result<serve::ChatOpener> chat_opener(const ServeFlags& flags) {
  ChatPlan common;
  take_endpoint(common.endpoint);
  if (common.endpoint.url.empty()) return serve::ChatOpener();
  common.prices = flags.llm_prices;
  common.limits.max_calls = flags.llm_max_calls;
  common.limits.max_dollars = flags.llm_max_dollars;
  if (const auto status = check_endpoint(common.endpoint); !status) return status.error();
  if (const auto prices = parse_prices(common.prices); !prices) return prices.error();
  if (flags.llm_max_dollars > 0 && common.prices.empty()) return fail("--llm-max-cost needs --llm-price");
  return serve::ChatOpener(
      [common](const serve::JobRequest& job, const Target& target, TuneOptions& options) {
        ChatPlan request = common;
        // A job may ask for less than the server allows.
        const auto least = [](auto a, auto b) { return a == 0 ? b : b == 0 ? a : std::min(a, b); };
        request.limits.max_calls = least(request.limits.max_calls, job.llm_max_calls);
        request.limits.max_dollars = least(request.limits.max_dollars, job.llm_max_dollars);
        return open_chat(std::move(request), target, options,
                         [](const std::string& notice) { fmt::print(stderr, "attune: {}\n", notice); });
      });
}

void print_banner(const serve::Service& service, const serve::HttpOptions& http, std::uint16_t port,
                  bool open) {
  const bool v6 = http.address.find(':') != std::string::npos;
  const SweepTarget& devices = service.devices();
  fmt::print("attune {} serves http://{}{}{}:{}\n", kVersion, v6 ? "[" : "", http.address, v6 ? "]" : "",
             port);
  fmt::print("database   {}\n", shown(service.options().database));
  if (service.is_shared())
    fmt::print("shared     with other servers; here {} runs jobs, each on a lease of {} s\n",
               service.options().name, service.options().lease_seconds);
  if (devices.replays) {
    fmt::print("device     {}, REPLAYED: nothing is measured here; {} of it\n", devices.device.name,
               count_of(static_cast<std::int64_t>(devices.recordings.size()), "recording", "recordings"));
  } else {
    fmt::print("device     {}, {}\n", devices.device.name, count_of(service.workers(), "worker", "workers"));
  }
  fmt::print("access     {}\n", open ? "everyone on this machine" : "who has a token");
  if (const TrustedKeys* trusted = service.trusted())
    fmt::print("packs      only those signed by a key of {} ({})\n", trusted->where(),
               count_of(static_cast<std::int64_t>(trusted->size()), "key", "keys"));
  if (const SecretKey* key = service.pack_key())
    fmt::print("packs      handed out signed by {}\n", key->public_key().to_string());
  std::fflush(stdout);
}

int run_serve(ServeFlags& flags) {
  if (const auto status = parse_listen(flags.listen, flags.http); !status) return usage_error(status.error());
  auto tokens = read_tokens(flags);
  if (!tokens) return usage_error(tokens.error());
  if (tokens->empty() && !serve::is_loopback_address(flags.http.address)) {
    return usage_error(
        fail("--listen {}: others can reach this address, so a token is needed (--token-file FILE or {}); "
             "what is sent "
             "is not encrypted: put a proxy with TLS in front",
             flags.listen, kTokenVariable));
  }
  auto trusted = trusted_keys(flags.trust);
  if (!trusted) return usage_error(trusted.error());
  std::optional<SecretKey> pack_key;
  if (!flags.pack_key.empty()) {
    const auto read = SecretKey::read(flags.pack_key);
    if (!read) return usage_error(read.error());
    pack_key = *read;
  }
  const auto devices = sweep_target(flags.device, flags.gpus);
  if (!devices) {
    const bool named_gpu = !flags.gpus.empty() || flags.device.starts_with("gpu:");
    return named_gpu && gpus().empty() ? no_gpu(devices.error()) : usage_error(devices.error());
  }
  if (flags.require_gpu && devices->replays)
    return no_gpu(fail("--require-gpu: this machine has no usable GPU; `attune doctor` says why"));

  auto open_chat = chat_opener(flags);
  if (!open_chat) return usage_error(open_chat.error());
  const std::atomic<bool>& stop = catch_interrupts();
  auto service =
      serve::Service::open({.database = database_location(flags.database),
                            .name = flags.name.empty() ? host_and_process() : flags.name,
                            .lease_seconds = flags.lease_seconds,
                            .version = kVersion,
                            .threads = flags.threads,
                            .limits = flags.limits,
                            .open_chat = *std::move(open_chat),
                            .trusted = *std::move(trusted),
                            .pack_key = pack_key,
                            .log = [](const std::string& line) { fmt::print(stderr, "attune: {}\n", line); }},
                           *devices);
  if (!service) return failed(service.error());
  const bool open = tokens->empty();
  serve::Api api(**service, {.tokens = *std::move(tokens), .hosts = flags.hosts});
  auto server = serve::HttpServer::listen(flags.http, api);
  if (!server) return failed(server.error());
  (*service)->count_connections_with([raw = server->get()] { return raw->connections(); });
  (*server)->run();
  print_banner(**service, flags.http, (*server)->port(), open);
  while (!stop.load()) std::this_thread::sleep_for(kWakeUp);
  (*service)->stop();
  (*server)->stop();
  return kOk;
}

}  // namespace

Action configure_serve(CLI::App& app) {
  auto flags = std::make_shared<ServeFlags>();
  app.add_option("--listen", flags->listen, "Where to listen; port 0: the system chooses")
      ->capture_default_str()
      ->type_name("ADDRESS:PORT");
  add_database_flag(app, flags->database);
  add_devices_flags(app, flags->device, flags->gpus, flags->require_gpu);
  app.add_option("--token-file", flags->token_file,
                 "Who may ask: a line a client, NAME TOKEN; readable by its owner alone")
      ->type_name("FILE");
  app.add_option(
         "--trusted-keys", flags->trust.file,
         "Public keys, one a line: only packs that one of them signed are served from and taken (default: "
         "ATTUNE_TRUSTED_KEYS, else trusted_keys in ~/.config/attune)")
      ->type_name("FILE");
  app.add_option("--pack-key", flags->pack_key, "Sign the packs that are handed out, with this secret key")
      ->type_name("FILE");
  app.add_option("--allow-host", flags->hosts,
                 "A name that this server is reached by, beside localhost and addresses")
      ->type_name("NAME");
  app.add_option("--threads", flags->threads, "Kernels compiled at once for jobs (default: one a core)")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  app.add_option(
         "--lease", flags->lease_seconds,
         "On a PostgreSQL database, which servers share: one that is silent for so many seconds loses "
         "its running jobs to the others")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 86400.0))
      ->type_name("S");
  app.add_option("--name", flags->name, "This server's name for others (default: HOST:PID)")
      ->type_name("NAME");
  app.add_option("--max-queued", flags->limits.queued, "Jobs that may wait; more are answered with 429")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  app.add_option("--max-queued-per-client", flags->limits.queued_of_client, "The same, of one client")
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  app.add_option("--llm-price", flags->llm_prices,
                 "Dollars for a million tokens; jobs ask the endpoint of ATTUNE_LLM_URL")
      ->type_name("[MODEL=]IN/OUT");
  app.add_option("--llm-max-calls", flags->llm_max_calls, "Calls that a job may make at most; 0: no limit")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  app.add_option("--llm-max-cost", flags->llm_max_dollars,
                 "Money that a job may cost; needs --llm-price; 0: no limit")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->type_name("USD");
  app.add_option("--max-connections", flags->http.max_connections,
                 "Open connections; more are answered with 503")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000))
      ->type_name("N");
  app.footer(kServeExamples);
  return [flags] { return run_serve(*flags); };
}

}  // namespace attune::cli
