// attune cache claims: which host tunes what, in a sweep that several share.
#include "cache/claims.h"

#include <nlohmann/json.hpp>

#include "cache/location.h"
#include "cli/cache.h"
#include "cli/database_flag.h"
#include "cli/text.h"

namespace attune::cli {
namespace {

constexpr const char* kClaimsExamples = R"(Examples:
  attune cache claims --db postgresql://tuner@db.example/attune
  attune cache claims --db postgresql://tuner@db.example/attune --reopen

Made by `attune sweep --claim` (docs/fleet.md).)";

nlohmann::json claim_json(const ClaimStatus& claim) {
  return {{"shape", to_json(claim.subject.shape)},
          {"gpu_name", claim.subject.gpu_name},
          {"arch", claim.subject.arch},
          {"replayed", claim.subject.replayed},
          {"policy", to_string(claim.subject.policy)},
          {"templates", claim.subject.templates},
          {"weight", claim.subject.weight},
          {"max_trials", claim.subject.max_trials},
          {"state", claim.state},
          {"holder", claim.holder},
          {"taken_from", claim.taken_from},
          {"held_since", claim.held_since},
          {"ended_at", claim.ended_at},
          {"seconds_since_heard", claim.seconds_since_heard},
          {"seconds_left", claim.seconds_left},
          {"times_lost", claim.times_lost},
          {"times_done", claim.times_done},
          {"message", claim.message}};
}

std::string remark_on(const ClaimStatus& claim) {
  if (claim.state == "held" || claim.state == "expired")
    return fmt::format("heard from {} ago{}", duration(claim.seconds_since_heard),
                       claim.taken_from.empty() ? "" : ", taken over from " + claim.taken_from);
  return claim.message;
}

int run_claims(const std::string& database, bool json, bool reopen) {
  const std::string location = database_location(database);
  const auto board = open_claims(location);
  if (!board) return failed(board.error());
  if (reopen) {
    const auto reopened = (*board)->reopen_given_up();
    if (!reopened) return failed(reopened.error());
    fmt::print(stderr, "{} open again\n", count_of(*reopened, "shape", "shapes"));
  }
  const auto all = (*board)->all();
  if (!all) return failed(all.error());
  if (json) {
    nlohmann::json list = nlohmann::json::array();
    for (const ClaimStatus& claim : *all) list.push_back(claim_json(claim));
    fmt::print("{}\n", list.dump(2));
    return kOk;
  }
  std::vector<std::vector<std::string>> rows{{"state", "shape", "device", "holder", "since", ""}};
  std::int64_t done = 0;
  for (const ClaimStatus& claim : *all) {
    done += claim.state == "done";
    rows.push_back({claim.state, to_string(claim.subject.shape),
                    claim.subject.gpu_name + (claim.subject.replayed ? " (replayed)" : ""), claim.holder,
                    claim.ended_at.empty() ? claim.held_since : claim.ended_at, remark_on(claim)});
  }
  fmt::print("{}{} of {} done in {}\n", table(rows), done,
             count_of(static_cast<std::int64_t>(all->size()), "shape", "shapes"), shown(location));
  return kOk;
}

}  // namespace

Action configure_cache_claims(CLI::App& app) {
  auto database = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  auto reopen = std::make_shared<bool>(false);
  add_database_flag(app, *database);
  app.add_flag("--json", *json, "One JSON array on stdout");
  app.add_flag("--reopen", *reopen, "Let shapes that were given up be tried again");
  app.footer(kClaimsExamples);
  return [database, json, reopen] { return run_claims(*database, *json, *reopen); };
}

}  // namespace attune::cli
