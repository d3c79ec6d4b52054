// What was asked of a model and what it answered, one JSON document a line, so that a search can be replayed
// without the model. docs/llm.md describes the format.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "autotuner/llm/chat.h"
#include "base/result.h"
#include "base/shape.h"

namespace attune {

inline constexpr int kTranscriptVersion = 1;

// The first line.
struct TranscriptInfo {
  Shape shape;
  std::string template_name;
  std::string template_hash;
  std::string device;  // GPU name, "replayed: RECORDING" for a recording's
  std::string source;  // ChatSource::name()
  std::string note;    // who answered and how, in the words of whoever recorded it
  std::string created_at;
  nlohmann::json search;  // seed, limits and the like, for people
};

// Each line is in the file when the call returns, so that a killed search leaves a transcript. Not thread
// safe.
class TranscriptWriter {
 public:
  // An existing file is an error: nobody wants answers that were paid for overwritten.
  static Result<std::unique_ptr<TranscriptWriter>> create(const std::filesystem::path& file,
                                                          const TranscriptInfo& info);

  Status ask(SearchPosition position, std::int64_t ticket, const ChatRequest& request);
  Status answer(SearchPosition position, const ChatAnswer& answer);

 private:
  TranscriptWriter(std::filesystem::path file, std::ofstream out)
      : file_(std::move(file)), out_(std::move(out)) {}
  Status write(const nlohmann::json& line);

  std::filesystem::path file_;
  std::ofstream out_;
  std::string system_;  // as last written: it is long and hardly ever changes
};

struct Replay {
  TranscriptInfo info;
  std::unique_ptr<ChatSource> source;
};

// Gives the answers of a transcript at the points of the search where they came then. With the same space,
// seed, limits and measurements the search is the same; questions that differ from the recorded ones are
// counted in remark(). A last line that was cut off by a kill is left out; anything else wrong is an error
// that names the line.
Result<Replay> replay_chat(const std::filesystem::path& file);

}  // namespace attune
