#pragma once

#include <string>
#include <string_view>

namespace attune {

// A file of dashboard/web, or std::logic_error where there is none of this name.
std::string_view web_file(std::string_view name);

// All modules as one script, in the order of dashboard/CMakeLists.txt: import lines are left out and the word
// export is taken away, so that one inline script holds what tests import file by file. What is exported has
// therefore one name throughout, and an import or export is one line.
const std::string& web_script();

}  // namespace attune
