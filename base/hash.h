#pragma once

#include <string>
#include <string_view>

namespace attune {

// SHA-256 of the bytes, as 64 lowercase hexadecimal digits (FIPS 180-4, through libsodium).
std::string sha256_hex(std::string_view bytes);

}  // namespace attune
