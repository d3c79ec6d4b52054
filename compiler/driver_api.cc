#include "compiler/driver_api.h"

#include <dlfcn.h>

#include <optional>
#include <string_view>

namespace attune::driver_api {
namespace {

// The driver interface that all of the functions exist in; every later driver keeps it.
constexpr int kInterfaceVersion = 12040;

std::optional<Table>& the_table() {
  static std::optional<Table> table;
  return table;
}

using GetProcAddress = CUresult (*)(const char*, void**, int, cuuint64_t, CUdriverProcAddressQueryResult*);

}  // namespace

const Table& table() {
  return *the_table();
}
void set_table(const Table& table) {
  the_table() = table;
}

Error failure(const Table& table, const char* call, CUresult code, const char* file, int line) {
  const char* name = nullptr;
  const char* description = nullptr;
  if (table.cuGetErrorName == nullptr || table.cuGetErrorName(code, &name) != CUDA_SUCCESS) name = nullptr;
  if (table.cuGetErrorString == nullptr || table.cuGetErrorString(code, &description) != CUDA_SUCCESS) {
    description = nullptr;
  }
  std::string_view where = file;
  const auto folder = where.rfind("compiler/");
  if (folder != std::string_view::npos) where.remove_prefix(folder);
  Error error =
      fail("{} failed: {} ({}), {}, at {}:{}", call, name == nullptr ? "unnamed error" : name,
           static_cast<int>(code), description == nullptr ? "no description" : description, where, line);
  error.device_code = static_cast<int>(code);
  return error;
}

Result<Table> load(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    return fail(
        "no CUDA driver: {}; install NVIDIA's driver, or point ATTUNE_CUDA_DRIVER at its libcuda.so.1",
        dlerror());
  }
  void* query = dlsym(library, "cuGetProcAddress_v2");
  if (query == nullptr) {
    return fail(
        "{} is no CUDA driver of version 12.4 or newer: it has no cuGetProcAddress_v2; update NVIDIA's "
        "driver",
        path);
  }
  const auto get_proc_address = reinterpret_cast<GetProcAddress>(query);
  Table table;
#define ATTUNE_LOAD(function)                                                                              \
  {                                                                                                        \
    void* address = nullptr;                                                                               \
    const CUresult code =                                                                                  \
        get_proc_address(#function, &address, kInterfaceVersion, CU_GET_PROC_ADDRESS_DEFAULT, nullptr);    \
    if (code != CUDA_SUCCESS || address == nullptr) {                                                      \
      return fail("the CUDA driver {} has no {} (code {}); update NVIDIA's driver to 12.4 or newer", path, \
                  #function, static_cast<int>(code));                                                      \
    }                                                                                                      \
    table.function = reinterpret_cast<decltype(table.function)>(address);                                  \
  }
  ATTUNE_CUDA_FUNCTIONS(ATTUNE_LOAD)
#undef ATTUNE_LOAD
  const CUresult code = table.cuInit(0);
  if (code != CUDA_SUCCESS) return failure(table, "cuInit(0)", code, __FILE__, __LINE__);
  return table;
}

}  // namespace attune::driver_api
