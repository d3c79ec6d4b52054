// The page that shows trials and jobs: one HTML document with its style and script inside.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/result.h"

namespace attune {

struct Page {
  std::string html;
  // For the HTTP header of the same name: the document's own script and style by their hashes, nothing else.
  // It stands in the document too, but for what only a header may say.
  std::string content_security_policy;
};

// The page of a server: it asks /v1 of where it came from. Made once, for the life of the program.
const Page& live_page();

// A file that needs no server and asks nobody: `data` (dashboard_data()) is inside. `title` stands in its
// head, as in the name of the database.
std::string report_page(const nlohmann::json& data, const std::string& title);

}  // namespace attune
