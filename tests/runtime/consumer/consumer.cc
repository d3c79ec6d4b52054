// A program of somebody else's in C++, with other versions of what attune is made of. Otherwise as
// consumer.c.
#include <attune/attune.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

// Attune has its own of these: to meet these here ends the program.
extern "C" int sqlite3_open_v2(const char*, void**, int, const char*) {
  std::abort();
}
extern "C" const char* sqlite3_libversion() {
  return "2.8.17";
}
extern "C" int sodium_init() {
  std::abort();
}
namespace fmt::v9::detail {
void throw_format_error(const char*) {
  std::abort();
}
}  // namespace fmt::v9::detail

static bool refuses_a_file_that_is_no_database(const char* file) try {
  attune_open_options options = ATTUNE_OPEN_OPTIONS_INIT;
  options.database = file;
  const attune_api::Library library(options);
  return false;
} catch (const attune_api::Error& error) {
  std::printf("%s: %s, beside SQLite %s\n", attune_status_name(error.status()), error.what(),
              sqlite3_libversion());
  return error.status() == ATTUNE_DATABASE;
}

int main(int, char** argv) try {
  if (!refuses_a_file_that_is_no_database(argv[0])) return 1;

  const attune_api::Library library;
  attune_shape shape = attune_api::square_shape(1, 32, 2048, 128, /*causal=*/true);
  shape.kv_heads = 8;
  void* const anywhere = reinterpret_cast<void*>(std::uintptr_t{0x7f0000000000});
  const attune_api::Kernel kernel = library.prepare(shape);
  kernel.forward(attune_api::contiguous_tensors(shape, anywhere, anywhere, anywhere, anywhere), 0, nullptr);
  const attune_info info = kernel.info();
  std::printf("launched %s\n%s\n", info.template_name, info.reason);
  return info.provenance == ATTUNE_PROVENANCE_EXACT ? 0 : 1;
} catch (const attune_api::Error& error) {
  std::fprintf(stderr, "%s: %s\n", attune_status_name(error.status()), error.what());
  return error.status() == ATTUNE_NO_GPU ? 3 : 1;
}
