// The C++ wrapper needs no more than C++17.
#include "attune/attune.hpp"

bool use_from_cpp() {
  try {
    const attune_api::Library library;
    const auto shape = attune_api::square_shape(4, 32, 4096, 128);
    return library.prepare(shape).info().provenance == ATTUNE_PROVENANCE_EXACT;
  } catch (const attune_api::Error& error) {
    return error.status() == ATTUNE_OK;
  }
}
