// Evolution guided by a language model, after OpenEvolve's and AlphaEvolve's idea, with configs instead of
// programs: one question brings many proposals, and while an answer is under way the search goes on by
// itself, by crossover and mutation of the islands' elites and by the surrogate. Without anybody to ask it is
// that local search.
#include <algorithm>
#include <deque>
#include <unordered_map>

#include "autotuner/llm/chat_session.h"
#include "autotuner/llm/elite_islands.h"
#include "autotuner/llm/guide.h"
#include "autotuner/llm/prompt.h"
#include "autotuner/llm/proposal.h"
#include "autotuner/llm/reply_text.h"
#include "autotuner/strategies/descent.h"
#include "autotuner/strategies/moves.h"
#include "autotuner/strategies/proposals.h"

namespace attune {
namespace {

constexpr std::size_t kIslands = 3;
constexpr std::int64_t kMigrateEvery = 32;  // observations between migrations
constexpr std::size_t kElitesEvery = 3;     // of so many local proposals one is from the islands' elites
constexpr std::size_t kVariations = 10;     // tries for a new, legal one
constexpr std::size_t kMostRemarks = 24;    // kept for the next question
constexpr std::uint64_t kLocalSeed = 0x9e3779b97f4a7c15;  // the surrogate's draws must not repeat ours

class LlmEvolution : public Strategy {
 public:
  explicit LlmEvolution(const StrategyArguments& arguments)
      : proposals_(arguments),
        local_(make_surrogate({.space = arguments.space, .seed = arguments.seed ^ kLocalSeed, .start = {}})),
        islands_(kIslands) {
    if (arguments.guide == nullptr) return;
    problem_ = arguments.guide->problem;
    session_ = arguments.guide->session;
  }

  std::string_view name() const override { return "llm"; }

  std::vector<Point> propose(std::size_t n) override {
    holding_ = false;
    if (asking()) {
      take_replies();
      ask();
    }
    return up_to(n, [this] { return next(); });
  }

  bool awaiting() const override { return holding_; }

  void observe(const Observation& observation) override {
    ++position_.observed;
    ++news_;
    proposals_.mark(observation.point);
    local_->observe(observation);
    const auto origin = outstanding_.find(observation.point);
    const Origin from = origin == outstanding_.end() ? Origin{} : origin->second;
    if (origin != outstanding_.end()) outstanding_.erase(origin);
    trials_.push_back({static_cast<std::int64_t>(trials_.size()) + 1, observation, from.by_model});
    if (cost_us(observation) < kFailed) settle(from.island);
    if (position_.observed % kMigrateEvery == 0) islands_.migrate();
  }

 private:
  static constexpr std::size_t kEverywhere = kIslands;
  struct Origin {
    std::size_t island = kEverywhere;
    bool by_model = false;
  };
  struct Queued {
    Point point;
    std::size_t island = 0;
    std::string model;
  };

  bool idle() const { return outstanding_.empty(); }

  // Not in the last trials of a budget, which belong to the descent: an answer would come to nothing.
  bool asking() const {
    if (!session_ || proposals_.space().count() == 0) return false;
    const auto budget = static_cast<std::size_t>(problem_.max_trials);
    return budget == 0 || static_cast<std::size_t>(position_.proposed) < final_descent_begin(budget);
  }

  // ---- proposals ----

  std::optional<Point> next() {
    if (std::optional<Point> start = proposals_.next_start()) return issued(*start, {});
    while (!queue_.empty()) {
      const Queued queued = std::move(queue_.front());
      queue_.pop_front();
      if (!proposals_.claim(queued.point)) continue;
      return issued(queued.point, {queued.island, true});
    }
    if (asking() && session_->worth_waiting(position_, idle())) {
      holding_ = true;
      return std::nullopt;
    }
    return next_local();
  }

  std::optional<Point> next_local() {
    const std::size_t island = local_turn_++ % kIslands;
    if (local_turn_ % kElitesEvery == 0) {
      if (auto point = varied(island)) return issued(*point, {island, false});
    }
    while (true) {
      const std::vector<Point> points = local_->propose(1);
      if (points.empty()) break;
      if (proposals_.claim(points[0])) return issued(points[0], {island, false});
    }
    if (auto point = proposals_.next_random()) return issued(*point, {island, false});
    return std::nullopt;
  }

  // Uniform crossover of two elites, then a mutation half of the time.
  std::optional<Point> varied(std::size_t island) {
    const std::vector<Elite> elites = islands_.elites(island);
    if (elites.empty()) return std::nullopt;
    Rng& rng = proposals_.rng();
    for (std::size_t i = 0; i < kVariations; ++i) {
      Point point = elites[uniform_below(rng, elites.size())].point;
      const Point& other = elites[uniform_below(rng, elites.size())].point;
      for (std::size_t axis = 0; axis < point.size(); ++axis) {
        if (uniform_below(rng, 2) == 0) point[axis] = other[axis];
      }
      point = proposals_.space().normalized(std::move(point));
      if (uniform_below(rng, 2) == 0 || proposals_.proposed(point)) {
        if (auto mutant = mutated(proposals_.space(), point, 1, rng)) point = *std::move(mutant);
      }
      if (proposals_.claim(point)) return point;
    }
    return std::nullopt;
  }

  Point issued(const Point& point, Origin origin) {
    if (position_.proposed++ == 0) first_ = point;
    outstanding_.insert_or_assign(point, origin);
    return point;
  }

  // The newest trial onto its island's map: a start's and a foreign one onto all.
  void settle(std::size_t island) {
    const KnownTrial& trial = trials_.back();
    const Observation& observation = trial.observation;
    const double cost = cost_us(observation);
    const Elite elite{trial.number, observation.point, cost,
                      cell_of(observation, proposals_.space(), problem_.device)};
    for (std::size_t i = 0; i < kIslands; ++i) {
      if (island == kEverywhere || island == i) islands_.add(i, elite);
    }
    if (cost >= best_us_) return;
    best_us_ = cost;
    best_ = observation.point;
  }

  // ---- the model ----

  void ask() {
    while (session_->can_ask(position_, due(), idle())) {
      if (system_.empty())
        system_ =
            system_prompt(problem_, proposals_.space(), static_cast<std::size_t>(session_->settings().batch));
      const std::size_t island = questions_++ % kIslands;
      const std::int64_t ticket = session_->ask(position_, system_, question_of(island));
      asked_for_.emplace(ticket, island);
      remarks_.clear();
      news_ = 0;
      asked_at_proposal_ = position_.proposed;
    }
  }

  // There is something to tell, and room for an answer. A question for every batch of proposals, no more.
  bool due() const {
    const auto batch = static_cast<std::size_t>(session_->settings().batch);
    if (questions_ == 0) return true;
    const std::size_t half = std::max<std::size_t>(1, batch / 2);
    if (queue_.size() >= half || session_->in_flight() * batch > batch) return false;
    if (position_.proposed - asked_at_proposal_ < static_cast<std::int64_t>(batch))
      return news_ > 0 && idle();
    return news_ >= half || (news_ > 0 && idle());
  }

  std::string question_of(std::size_t island) const {
    QuestionState state;
    state.trials = &trials_;
    state.fallback = fallback();
    state.elites = islands_.elites(island);
    for (const auto& [point, origin] : outstanding_) state.under_way.push_back(point);
    std::sort(state.under_way.begin(), state.under_way.end());
    for (const Queued& queued : queue_) state.under_way.push_back(queued.point);
    state.remarks = remarks_;
    state.notes = notes_;
    state.role = static_cast<IslandRole>(island % 3);
    state.batch = static_cast<std::size_t>(session_->settings().batch);
    return question(problem_, proposals_.space(), state);
  }

  void take_replies() {
    for (const ChatSession::Reply& reply : session_->take(position_, idle())) {
      const auto asked = asked_for_.find(reply.ticket);
      const std::size_t island = asked == asked_for_.end() ? 0 : asked->second;
      if (asked != asked_for_.end()) asked_for_.erase(asked);
      read(reply, island);
    }
  }

  void read(const ChatSession::Reply& reply, std::size_t island) {
    const ReplyText text = read_reply(reply.text);
    if (!text.notes.empty()) notes_ = text.notes;
    const std::size_t before = queue_.size();
    for (const auto& item : text.proposals) queue_up(item, island, reply.model);
    const bool useful = queue_.size() > before;
    session_->judge(useful, text.proposals.empty() ? "the answers hold no proposals"
                                                   : "the answers hold no config that is legal and new");
  }

  void queue_up(const nlohmann::json& item, std::size_t island, const std::string& model) {
    ChatTotals& totals = session_->totals();
    const Point base = fallback();
    ReadProposal read = read_proposal(
        item, proposals_.space(), [this](std::int64_t number) { return point_of(number); }, base);
    if (read.point && known(*read.point)) {
      read.point.reset();
      read.remark += (read.remark.empty() ? "" : "; ") + std::string("tried or under way already");
    }
    if (!read.remark.empty() && remarks_.size() < kMostRemarks) {
      remarks_.push_back(fmt::format(
          "{} {}: {}", read.point ? "changed" : "refused",
          item.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace).substr(0, 80), read.remark));
    }
    if (!read.point) {
      ++totals.rejected;
      return;
    }
    ++totals.proposals;
    ++totals.proposals_by_model[model];
    if (read.repaired) ++totals.repaired;
    queue_.push_back({*std::move(read.point), island, model});
  }

  bool known(const Point& point) const {
    if (proposals_.proposed(point)) return true;
    return std::any_of(queue_.begin(), queue_.end(), [&](const Queued& q) { return q.point == point; });
  }

  const Point* point_of(std::int64_t number) const {
    if (number < 1 || number > static_cast<std::int64_t>(trials_.size())) return nullptr;
    return &trials_[static_cast<std::size_t>(number) - 1].observation.point;
  }

  // What a proposal changes that names no trial.
  Point fallback() const {
    if (!best_.empty()) return best_;
    return first_.empty() ? proposals_.space().at(0) : first_;
  }

  Proposals proposals_;
  std::unique_ptr<Strategy> local_;
  EliteIslands islands_;
  LlmProblem problem_;
  std::shared_ptr<ChatSession> session_;

  SearchPosition position_;
  std::vector<KnownTrial> trials_;
  std::unordered_map<Point, Origin, PointHash> outstanding_;
  Point first_;  // proposed: a start config where there is one
  Point best_;
  double best_us_ = kFailed;
  std::size_t local_turn_ = 0;

  std::deque<Queued> queue_;  // the model's proposals, legal and new when they came
  std::unordered_map<std::int64_t, std::size_t> asked_for_;  // ticket -> island
  std::size_t questions_ = 0;
  std::size_t news_ = 0;  // observations since the last question
  std::int64_t asked_at_proposal_ = 0;
  std::vector<std::string> remarks_;
  std::string notes_;
  std::string system_;
  bool holding_ = false;
};

}  // namespace

std::unique_ptr<Strategy> make_llm_evolution(StrategyArguments arguments) {
  return std::make_unique<LlmEvolution>(arguments);
}

}  // namespace attune
