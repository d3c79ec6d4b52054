#include "cli/sweep_claims.h"

#include "cache/location.h"
#include "cli/process_name.h"

namespace attune::cli {
namespace {

std::string_view words_of(ClaimEvent::Kind kind) {
  switch (kind) {
    case ClaimEvent::Kind::taken:
      return "claimed";
    case ClaimEvent::Kind::taken_over:
      return "taken over from";
    case ClaimEvent::Kind::done:
      return "done";
    case ClaimEvent::Kind::lost:
      return "lost";
    case ClaimEvent::Kind::given_back:
      return "given back";
    case ClaimEvent::Kind::failed:
      return "failed";
    case ClaimEvent::Kind::waiting:
      return "waiting";
  }
  return "";
}

}  // namespace

void add_claim_flags(CLI::App& app, ClaimFlags& flags) {
  app.add_flag(
      "--claim", flags.claim,
      "Share the shapes with all hosts that run this with the same PostgreSQL database: each is tuned "
      "by one of them");
  app.add_option("--lease", flags.lease_seconds,
                 "With --claim: a host that is silent for so many seconds loses its shape to another")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 86400.0))
      ->type_name("S");
  app.add_flag("--no-wait", flags.no_wait,
               "With --claim: end when nothing is left to claim, whatever others still hold");
  app.add_option("--holder", flags.holder, "With --claim: this host's name for others (default: HOST:PID)")
      ->type_name("NAME");
}

Status check_claim_flags(const ClaimFlags& flags, const std::string& database, bool remeasure) {
  if (!flags.claim) {
    if (flags.no_wait || !flags.holder.empty()) return fail("--no-wait and --holder go with --claim");
    return {};
  }
  if (!is_server(database)) {
    return fail("--claim: {} is a file; hosts share shapes over a server, --db postgresql://user@host/name",
                database);
  }
  if (remeasure) return fail("--claim tunes each shape once, --remeasure again: give one of them");
  return {};
}

ClaimOptions claim_options(const ClaimFlags& flags) {
  return {.holder = flags.holder.empty() ? host_and_process() : flags.holder,
          .lease_seconds = flags.lease_seconds,
          .wait = !flags.no_wait};
}

void print_claim_event(const ClaimEvent& event) {
  const std::string what = event.arm == nullptr ? "" : to_string(event.arm->shape) + ": ";
  const bool named = event.kind == ClaimEvent::Kind::taken_over;
  fmt::print(stderr, "{}{}{}{}\n", what, words_of(event.kind),
             event.detail.empty() ? ""
             : named              ? " "
                                  : ": ",
             event.detail);
}

}  // namespace attune::cli
