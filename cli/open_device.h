#pragma once

#include <memory>

#include "autotuner/device.h"
#include "cli/device_choice.h"

namespace attune::cli {

// Something that measures: the GPU behind its worker process, or the recording. A choice that is only an arch
// measures nothing and is an error.
Result<std::unique_ptr<Device>> open_device(const DeviceChoice& choice, const Shape& shape,
                                            const AttentionTemplate& tmpl, const MeasurementPolicy& policy);

}  // namespace attune::cli
