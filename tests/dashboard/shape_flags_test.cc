#include "dashboard/shape_flags.h"

#include <gtest/gtest.h>

#include <sstream>

#include "cli/shape_options.h"

namespace attune {
namespace {

// Parses as the command line does.
Result<Shape> parsed(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.insert(words.begin(), word);  // CLI11 wants them from the last
  CLI::App app;
  cli::ShapeFlags flags;
  cli::add_shape_flags(app, flags);
  app.parse(words);
  return cli::parse_shape(flags);
}

TEST(ShapeFlags, TheCommandLineReadsTheShapeBack) {
  const Shape plain{
      .batch = 4, .q_heads = 32, .kv_heads = 32, .q_len = 4096, .kv_len = 4096, .head_dim = 128};
  EXPECT_EQ(shape_flags(plain), "--shape 4,32,4096,128");
  Shape gqa = plain;
  gqa.kv_heads = 8;
  gqa.mask = Mask::causal_bottom_right;
  EXPECT_EQ(shape_flags(gqa), "--shape 4,32,4096,128 --kv-heads 8 --causal");
  Shape every = gqa;
  every.kv_len = 8192;
  every.mask = Mask::causal_top_left;
  every.dtype = DType::fp16;
  every.layout = Layout::bshd;
  every.wants_lse = true;
  for (const Shape& shape : {plain, gqa, every}) {
    const auto back = parsed(shape_flags(shape));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, shape) << shape_flags(shape);
  }
}

}  // namespace
}  // namespace attune
