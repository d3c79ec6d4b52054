#include "autotuner/llm/transcript.h"

#include <algorithm>
#include <deque>
#include <map>

#include "base/hash.h"
#include "base/json_text.h"
#include "base/read_file.h"

namespace attune {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kFormat = "attune-llm-transcript";

std::string question_hash(const ChatRequest& request) {
  return sha256_hex(request.system + "\n" + request.user).substr(0, 16);
}

// `place`: the line in the transcript. Several things may have happened at one position, in that order.
struct RecordedAsk {
  SearchPosition position;
  std::size_t place = 0;
  std::int64_t ticket = 0;
  std::string question;  // its hash
};

struct RecordedAnswer {
  SearchPosition position;
  std::size_t place = 0;
  ChatAnswer answer;
};

class ReplayChat final : public ChatSource {
 public:
  ReplayChat(std::deque<RecordedAsk> asks, std::map<std::int64_t, RecordedAnswer> answers)
      : asks_(std::move(asks)), answers_(std::move(answers)) {}

  std::string name() const override { return "transcript"; }

  void ask(std::int64_t ticket, const ChatRequest& request) override {
    if (asks_.empty()) return;  // asks_at() said so
    const RecordedAsk recorded = std::move(asks_.front());
    asks_.pop_front();
    ++asked_;
    if (recorded.question != question_hash(request)) ++different_;
    const auto answer = answers_.find(recorded.ticket);
    if (answer == answers_.end()) return;  // the recorded search ended before it came
    answer->second.answer.ticket = ticket;
    waiting_.push_back(std::move(answer->second));
    answers_.erase(answer);
  }

  std::vector<ChatAnswer> take(SearchPosition position, bool idle) override {
    std::vector<ChatAnswer> due;
    std::sort(waiting_.begin(), waiting_.end(),
              [](const RecordedAnswer& a, const RecordedAnswer& b) { return a.place < b.place; });
    while (!waiting_.empty() && !ask_comes_before(waiting_.front()) &&
           reached(position, waiting_.front().position, idle)) {
      due.push_back(std::move(waiting_.front().answer));
      waiting_.erase(waiting_.begin());
    }
    return due;
  }

  std::optional<bool> asks_at(SearchPosition position, bool idle) const override {
    if (asks_.empty() || !reached(position, asks_.front().position, idle)) return false;
    return std::all_of(waiting_.begin(), waiting_.end(),
                       [&](const RecordedAnswer& answer) { return ask_comes_before(answer); });
  }

  // The recorded search stood still where something more happened without a proposal in between.
  std::optional<bool> waits_at(SearchPosition position) const override {
    if (!asks_.empty() && asks_.front().position.proposed <= position.proposed) return true;
    return std::any_of(waiting_.begin(), waiting_.end(), [&](const RecordedAnswer& answer) {
      return answer.position.proposed <= position.proposed;
    });
  }

  void end_questions() override { asks_.clear(); }

  std::string remark() const override {
    if (different_ == 0) return "";
    return fmt::format("{} of the {} replayed answers were given to other questions than this search asked",
                       different_, asked_);
  }

 private:
  bool ask_comes_before(const RecordedAnswer& answer) const {
    return !asks_.empty() && asks_.front().place < answer.place;
  }

  // A search that differs from the recorded one may never have as many observations: with nothing
  // outstanding there will be no more.
  static bool reached(SearchPosition now, SearchPosition recorded, bool idle) {
    return recorded.proposed <= now.proposed && (recorded.observed <= now.observed || idle);
  }

  std::deque<RecordedAsk> asks_;
  std::map<std::int64_t, RecordedAnswer> answers_;  // of questions not asked yet, by the recorded ticket
  std::vector<RecordedAnswer> waiting_;
  std::int64_t asked_ = 0;
  std::int64_t different_ = 0;
};

SearchPosition position_in(const Json& line) {
  return {whole_number<std::int64_t>(line, "proposed"), whole_number<std::int64_t>(line, "observed")};
}

// Throws nlohmann's exceptions where keys are missing or of another type.
RecordedAnswer answer_in(const Json& line) {
  RecordedAnswer recorded{.position = position_in(line), .place = 0, .answer = {}};
  ChatAnswer& answer = recorded.answer;
  answer.ticket = whole_number<std::int64_t>(line, "ticket");
  if (line.contains("text")) answer.text = line["text"].get<std::string>();
  answer.error = line.value("error", "");
  answer.fatal = line.value("fatal", false);
  answer.model = line.value("model", "");
  if (line.contains("prompt_tokens")) read_whole_number(line, "prompt_tokens", answer.usage.prompt_tokens);
  if (line.contains("completion_tokens"))
    read_whole_number(line, "completion_tokens", answer.usage.completion_tokens);
  return recorded;
}

Result<TranscriptInfo> info_in(const Json& line, const std::string& file) {
  if (line.value("format", "") != kFormat)
    return fail("{} is no transcript: its first line lacks the format '{}'", file, kFormat);
  if (line.at("version") != kTranscriptVersion)
    return fail("{} is a transcript of version {}; this attune reads version {}", file,
                line["version"].dump(), kTranscriptVersion);
  auto shape = shape_from_json(line.at("shape"));
  if (!shape) return fail("{}, line 1: {}", file, shape.error().message);
  return TranscriptInfo{.shape = *shape,
                        .template_name = line.at("template").get<std::string>(),
                        .template_hash = line.at("template_hash").get<std::string>(),
                        .device = line.at("device").get<std::string>(),
                        .source = line.at("source").get<std::string>(),
                        .note = line.value("note", ""),
                        .created_at = line.at("created_at").get<std::string>(),
                        .search = line.value("search", Json::object())};
}

}  // namespace

Result<std::unique_ptr<TranscriptWriter>> TranscriptWriter::create(const std::filesystem::path& file,
                                                                   const TranscriptInfo& info) {
  std::error_code ignored;
  if (std::filesystem::exists(file, ignored)) {
    return fail("{} exists: give another name, or replay it with --llm-replay", file.string());
  }
  std::ofstream out(file, std::ios::binary);
  if (!out) return fail("cannot write {}", file.string());
  std::unique_ptr<TranscriptWriter> writer(new TranscriptWriter(file, std::move(out)));
  const Json line = {{"format", kFormat},
                     {"version", kTranscriptVersion},
                     {"shape", to_json(info.shape)},
                     {"template", info.template_name},
                     {"template_hash", info.template_hash},
                     {"device", info.device},
                     {"source", info.source},
                     {"note", info.note},
                     {"created_at", info.created_at},
                     {"search", info.search}};
  if (auto status = writer->write(line); !status) return status.error();
  return writer;
}

Status TranscriptWriter::write(const Json& line) {
  out_ << line.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n' << std::flush;
  if (!out_) return fail("cannot write the transcript {}: is the disk full?", file_.string());
  return {};
}

Status TranscriptWriter::ask(SearchPosition position, std::int64_t ticket, const ChatRequest& request) {
  Json line = {{"event", "ask"},
               {"ticket", ticket},
               {"proposed", position.proposed},
               {"observed", position.observed},
               {"model", request.model},
               {"question", question_hash(request)},
               {"user", request.user}};
  if (request.system != system_) line["system"] = system_ = request.system;
  return write(line);
}

Status TranscriptWriter::answer(SearchPosition position, const ChatAnswer& answer) {
  Json line = {{"event", "answer"},
               {"ticket", answer.ticket},
               {"proposed", position.proposed},
               {"observed", position.observed},
               {"model", answer.model},
               {"prompt_tokens", answer.usage.prompt_tokens},
               {"completion_tokens", answer.usage.completion_tokens}};
  if (answer.text) {
    line["text"] = *answer.text;
  } else {
    line["error"] = answer.error;
    line["fatal"] = answer.fatal;
  }
  return write(line);
}

Result<Replay> replay_chat(const std::filesystem::path& file) {
  const std::string name = file.string();
  const auto bytes = read_file(name);
  if (!bytes) return bytes.error();
  std::deque<RecordedAsk> asks;
  std::map<std::int64_t, RecordedAnswer> answers;
  std::optional<TranscriptInfo> info;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < bytes->size();) {
    ++number;
    const std::size_t end = bytes->find('\n', begin);
    if (end == std::string::npos && number > 1) break;  // cut by a kill
    const Json line = parse_outside_json(bytes->substr(begin, end - begin));
    begin = end == std::string::npos ? bytes->size() : end + 1;
    if (!line.is_object()) return fail("{}, line {}: not a JSON object", name, number);
    try {
      if (!info) {
        auto first = info_in(line, name);
        if (!first) return first.error();
        info = *std::move(first);
      } else if (line.at("event") == "ask") {
        asks.push_back({position_in(line), number, whole_number<std::int64_t>(line, "ticket"),
                        line.at("question").get<std::string>()});
      } else if (line.at("event") == "answer") {
        RecordedAnswer recorded = answer_in(line);
        recorded.place = number;
        answers.insert_or_assign(recorded.answer.ticket, std::move(recorded));
      } else {
        return fail("{}, line {}: unknown event {}", name, number, line["event"].dump());
      }
    } catch (const Json::exception& wrong) {
      return fail("{}, line {}: {}", name, number, wrong.what());
    }
  }
  if (!info) return fail("{} is empty: no transcript", name);
  return Replay{*std::move(info), std::make_unique<ReplayChat>(std::move(asks), std::move(answers))};
}

}  // namespace attune
