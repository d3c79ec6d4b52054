// The CUDA driver, opened at run time (dlopen of libcuda.so.1), in RAII. A machine without it builds and runs
// the same binary; Driver::open() then says what is missing.
//
// Errors: every failing call gives an Error with the call's text, CUDA's name and number for the code, its
// description and file:line. `is_sticky` codes (700, 702, 714 to 719 ...) end the context for good.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/device_facts.h"
#include "base/result.h"

namespace attune {

// An Error from the driver with its number, so that callers can tell a poisoned context from a bad argument.
struct DriverError : Error {
  int code = 0;
  bool sticky = false;
};

class Driver;   // table of entry points
class Context;  // primary context of one device, retained
class Module;   // a loaded cubin
class Stream;
class Event;
class DeviceBuffer;

}  // namespace attune
