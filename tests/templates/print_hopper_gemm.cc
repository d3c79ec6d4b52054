// What the template renders for `print_hopper_gemm bf16|fp16 HEAD_DIM BLOCK_N`, for hopper_tools_test.py.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "templates/hopper_gemm.h"

int main(int argc, char** argv) {
  if (argc != 4) return EXIT_FAILURE;
  const auto dtype = std::string_view(argv[1]) == "fp16" ? attune::DType::fp16 : attune::DType::bf16;
  std::fputs(attune::render_hopper_gemm(dtype, std::atoi(argv[2]), std::atoi(argv[3])).c_str(), stdout);
  return EXIT_SUCCESS;
}
