// A sweep shared between hosts, on the command line: its flags, and what it says while it goes.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "autotuner/claimed_sweep.h"
#include "base/result.h"

namespace attune::cli {

struct ClaimFlags {
  bool claim = false;
  double lease_seconds = ClaimOptions{}.lease_seconds;
  bool no_wait = false;
  std::string holder;  // "": host name and process id
};

void add_claim_flags(CLI::App& app, ClaimFlags& flags);

// Why the flags do not go together, as in --claim with a database that is a file.
Status check_claim_flags(const ClaimFlags& flags, const std::string& database, bool remeasure);

ClaimOptions claim_options(const ClaimFlags& flags);

// One line on stderr.
void print_claim_event(const ClaimEvent& event);

// How long a host that claims waits for a server that is gone: cut off for minutes, it goes on where it was.
inline constexpr int kClaimPatienceMs = 600000;

}  // namespace attune::cli
