#include "cli/llm_flags.h"

#include <cstdlib>

#include "cli/text.h"

namespace attune::cli {
namespace {

bool has_endpoint() {
  const char* url = std::getenv("ATTUNE_LLM_URL");
  return url != nullptr && *url != '\0';
}

}  // namespace

void add_llm_flags(CLI::App& app, LlmFlags& flags) {
  const auto add = [&](const std::string& name, auto& value, const std::string& help, const char* type) {
    CLI::Option* option = app.add_option(name, value, help)->type_name(type)->group("Strategy llm");
    flags.options.push_back(option);
    return option;
  };
  add("--llm-exchange", flags.exchange,
      "Write each question as a file into this folder and await its answer as a file beside it", "DIR");
  add("--llm-replay", flags.replay, "Take the answers from a transcript", "FILE");
  add("--llm-record", flags.record, "Keep questions and answers in a new transcript", "FILE");
  add("--llm-note", flags.note, "Kept in the transcript: who answers, and why", "TEXT");
  add("--llm-model", flags.models,
      "Model to ask; of several each question goes to one, drawn by weight (default: ATTUNE_LLM_MODEL)",
      "NAME[=WEIGHT]");
  add("--llm-batch", flags.chat.batch, "Configs that a question asks for", "N")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  add("--llm-wait", flags.chat.wait_seconds,
      "Stand still so long for an answer before going on without the model; 0: never stand still", "S")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add("--llm-timeout", flags.endpoint.timeout_seconds, "Longest time for one call", "S")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  add("--llm-retries", flags.endpoint.retries, "Times a failed call is made again, after a pause", "N")
      ->capture_default_str()
      ->check(CLI::Range(0, 20));
  add("--llm-max-calls", flags.limits.max_calls, "Calls at most, failed ones included; 0: no limit", "N")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add("--llm-max-tokens", flags.limits.max_tokens, "Tokens at most, in and out; 0: no limit", "N")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add("--llm-answer-tokens", flags.limits.max_answer_tokens, "Tokens of one answer at most", "N")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  add("--llm-max-cost", flags.limits.max_dollars, "Money at most; needs --llm-price; 0: no limit", "USD")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add("--llm-price", flags.prices, "USD for a million tokens in and out, of a model or of all",
      "[MODEL=]IN/OUT");
  add("--llm-max-seconds", flags.limits.max_seconds, "Ask nobody after this time; 0: no limit", "S")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
}

Status check_llm_flags(const LlmFlags& flags, const std::string& strategy) {
  if (strategy != "llm") {
    for (const CLI::Option* option : flags.options) {
      if (option->count() > 0)
        return fail("{} is of --strategy llm, not of {}", option->get_name(), strategy);
    }
    return {};
  }
  if (!flags.exchange.empty() && !flags.replay.empty())
    return fail("--llm-exchange and --llm-replay: one of them can answer");
  if (flags.exchange.empty() && flags.replay.empty() && !has_endpoint()) {
    return fail(
        "--strategy llm has nobody to ask: set ATTUNE_LLM_URL, or give --llm-exchange or --llm-replay");
  }
  if (const auto models = parse_models(flags.models); !models)
    return fail("--llm-model: {}", models.error().message);
  const auto prices = parse_prices(flags.prices);
  if (!prices) return prices.error();
  if (flags.limits.max_dollars > 0 && prices->empty()) return fail("--llm-max-cost needs --llm-price");
  return {};
}

std::string to_text(const ChatSession& session) {
  const ChatTotals& totals = session.totals();
  const CallBudget& budget = session.budget();
  std::string text = fmt::format("{}: {} ({} answered), {} of its configs taken, {} refused",
                                 session.source_name(), count_of(totals.questions, "question", "questions"),
                                 totals.answered, totals.proposals, totals.rejected);
  if (budget.used().total() > 0)
    text += fmt::format(", {} tokens", grouped(static_cast<std::uint64_t>(budget.used().total())));
  if (budget.dollars() > 0) text += fmt::format(", {:.4f} USD", budget.dollars());
  if (!session.end_reason().empty()) text += "; ended: " + session.end_reason();
  if (const std::string remark = session.remark(); !remark.empty()) text += "; " + remark;
  return text;
}

}  // namespace attune::cli
