#pragma once

#include <memory>

#include "autotuner/device.h"
#include "autotuner/target.h"
#include "compiler/compile_pool.h"

namespace attune {

// Something that measures: the GPU behind its worker process, or the recording. A target that is only an arch
// measures nothing and is an error.
Result<std::unique_ptr<Device>> open_device(const Target& target, const MeasurementPolicy& policy,
                                            CompilePool& compiler);

}  // namespace attune
