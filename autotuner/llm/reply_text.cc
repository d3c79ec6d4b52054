#include "autotuner/llm/reply_text.h"

#include <optional>

#include "base/json_text.h"

namespace attune {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostProposals = 200;
constexpr std::size_t kMostStarts = 1000;  // '{' tried as the beginning of the answer

// The end of the JSON object or list that begins at `begin`, or none if it is cut.
std::optional<std::size_t> end_of_value(std::string_view text, std::size_t begin) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = begin; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (--depth == 0) return i + 1;
    }
  }
  return std::nullopt;
}

Json parsed(std::string_view text) {
  return parse_outside_json(text);
}

const Json* list_in(const Json& json) {
  if (json.is_array()) return &json;
  if (!json.is_object()) return nullptr;
  for (const char* key : {"proposals", "configs"}) {
    if (json.contains(key) && json[key].is_array()) return &json[key];
  }
  return nullptr;
}

std::string text_at(const Json& json, const char* key) {
  return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
}

bool take_whole(const Json& json, ReplyText& reply) {
  const Json* list = list_in(json);
  if (list == nullptr) return false;
  if (json.is_array() && (json.empty() || !json[0].is_object())) return false;  // a list in the prose
  for (const Json& item : *list) {
    if (item.is_object() && reply.proposals.size() < kMostProposals) reply.proposals.push_back(item);
  }
  reply.notes = text_at(json, "notes");
  reply.model = text_at(json, "model");
  reply.complete = true;
  return true;
}

// The objects of a list whose end is missing or spoilt.
void salvage(std::string_view text, ReplyText& reply) {
  std::size_t key = text.find("\"proposals\"");
  if (key == std::string_view::npos) key = text.find("\"configs\"");
  std::size_t at = text.find('[', key == std::string_view::npos ? 0 : key);
  while (at != std::string_view::npos && reply.proposals.size() < kMostProposals) {
    const std::size_t next = text.find_first_not_of(" \t\r\n,", at + 1);
    if (next == std::string_view::npos || text[next] != '{') return;
    const auto end = end_of_value(text, next);
    if (!end) return;
    if (Json item = parsed(text.substr(next, *end - next)); item.is_object())
      reply.proposals.push_back(std::move(item));
    at = *end - 1;
  }
}

}  // namespace

ReplyText read_reply(std::string_view text) {
  text = text.substr(0, kLongestReplyBytes);
  ReplyText reply;
  std::size_t starts = 0;
  for (std::size_t at = text.find_first_of("{["); at != std::string_view::npos && starts < kMostStarts;
       at = text.find_first_of("{[", at), ++starts) {
    const auto end = end_of_value(text, at);
    if (!end) break;  // an unclosed bracket: what follows it is cut, or prose
    if (take_whole(parsed(text.substr(at, *end - at)), reply)) return reply;
    at = *end;
  }
  salvage(text, reply);
  return reply;
}

}  // namespace attune
