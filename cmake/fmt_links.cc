// What dependencies.cmake links against fmt.cc to see whether the two fit the {fmt} that is installed.
#include <fmt/ranges.h>

int main(int argc, char** argv) {
  fmt::print("{:.3f} {:g} {} {:>4} {}\n", argc * 1.0, argc * 1.0f, argv[0], argc, fmt::join({argc, 2}, ", "));
}
