// Finds the proposals in what a model wrote: JSON as asked, in prose or a code fence, or cut in the middle.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace attune {

struct ReplyText {
  std::vector<nlohmann::json> proposals;  // JSON objects, in the order written
  std::string notes;                      // what the model wants to be told again, "" if it says nothing
  std::string model;                      // who answered, "" if it does not say
  bool complete = false;                  // the whole of it could be read
};

// Looks at the first kLongestReplyBytes only. Of a list that is cut, the objects before the cut count.
inline constexpr std::size_t kLongestReplyBytes = 1 << 20;
ReplyText read_reply(std::string_view text);

}  // namespace attune
