// The shape's flags, the same for every command.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/shape.h"

namespace attune::cli {

struct ShapeFlags {
  std::string shape;  // "B,H,S,D"
  std::optional<std::int64_t> kv_heads;
  std::optional<std::int64_t> kv_len;
  std::string mask = "none";
  std::string dtype = "bf16";
  std::string layout = "bhsd";
  bool lse = false;
};

// `flags` must outlive the parse.
void add_shape_flags(CLI::App& app, ShapeFlags& flags, bool required = true);

// The shape, or one line that says which flag makes no sense and why.
Result<Shape> parse_shape(const ShapeFlags& flags);

}  // namespace attune::cli
