#pragma once

#include <string>
#include <string_view>

namespace attune {

// A text of other people's as an error may quote it: control characters as \xNN, so that it stays one line
// and does nothing to a terminal.
std::string printable(std::string_view text);

}  // namespace attune
