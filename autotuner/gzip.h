// gzip (RFC 1952) of whole strings, through zlib.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace attune {

// Same bytes for the same input: the header holds no name and no time.
std::string gzip(std::string_view bytes);

// Errors say whether the data is cut short, damaged, no gzip at all, or larger than 1 GiB unpacked.
Result<std::string> gunzip(std::string_view bytes);

// Only up to the first '\n' (which is left out).
Result<std::string> gunzip_first_line(std::string_view bytes);

}  // namespace attune
