#pragma once

#include <string_view>

namespace attune {

// A file whose bytes are part of the binary (see attune_embed in cmake/).
struct EmbeddedFile {
  std::string_view name;      // without folder, as in "portable_attention.cuh"
  std::string_view contents;  // lives as long as the program
};

}  // namespace attune
