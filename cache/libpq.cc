#include "cache/libpq.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

namespace attune::libpq {
namespace {

constexpr const char* kAdvice = "install it (Debian: libpq5), or point ATTUNE_LIBPQ at its libpq.so.5";

Result<Table> load(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) return fail("no PostgreSQL client library: {}; {}", dlerror(), kAdvice);
  Table table;
#define ATTUNE_LOAD(function)                                                             \
  table.function = reinterpret_cast<decltype(table.function)>(dlsym(library, #function)); \
  if (table.function == nullptr)                                                          \
    return fail("{} is no PostgreSQL client library: it has no {}; {}", path, #function, kAdvice);
  ATTUNE_PQ_FUNCTIONS(ATTUNE_LOAD)
#undef ATTUNE_LOAD
  return table;
}

}  // namespace

Result<const Table*> open() {
  static const Result<Table> loaded = [] {
    const char* path = std::getenv("ATTUNE_LIBPQ");
    return load(path != nullptr && *path != '\0' ? path : "libpq.so.5");
  }();
  if (!loaded) return loaded.error();
  return &*loaded;
}

}  // namespace attune::libpq
