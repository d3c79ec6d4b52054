// --server: what this command asks is answered, or done, by an attune server (docs/serve.md).
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace attune::cli {

struct Remote {
  std::string url;    // "": none, the command works here
  std::string token;  // of ATTUNE_TOKEN; never a flag, which others on the machine could read
};

// Adds --server, which ATTUNE_SERVER stands for.
void add_server_flag(CLI::App& app, Remote& remote);

// A server's answer, or the one line that it says is wrong. `unreachable` is set where it didn't answer at
// all.
struct RemoteError {
  Error error;
  bool unreachable = false;
};
struct RemoteAnswer {
  nlohmann::json json;
  std::string bytes;  // as they came, for what is no JSON
};
std::variant<RemoteAnswer, RemoteError> ask_server(Remote& remote, const std::string& path,
                                                   const std::optional<nlohmann::json>& body = {},
                                                   const std::vector<std::string>& headers = {});

// Where the server doesn't answer the command goes on here: says so on stderr.
void say_going_on_here(const Error& error);

// Submits the job, shows its events while it runs, and prints its result (JSON: the job as one document). A
// server that goes away is waited for. Ctrl-C stops the watching, not the job. Returns an exit code.
int submit_and_follow(Remote& remote, const nlohmann::json& request, bool json);

}  // namespace attune::cli
