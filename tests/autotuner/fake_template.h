// A template with a tiny kernel, so that the tune loop's tests compile for real (NVRTC) and fast. Axes:
//   size   1, 2, 4, ... : in the code; kSlowToCompile takes NVRTC many times as long
//   shade  0, 1, 2      : in the config only, so configs that differ in it alone have the same machine code
//   fault  none, syntax, spill : plants a source that does not compile, or one that spills
#pragma once

#include <atomic>
#include <string>

#include "templates/attention_template.h"

namespace attune {

class FakeTemplate final : public AttentionTemplate {
 public:
  static constexpr std::int64_t kSlowToCompile = 1000;

  std::vector<std::int64_t> sizes{1, 2, 4, 8, 16, 32};
  bool with_shades = false;
  bool with_faults = false;
  mutable std::atomic<int> rendered{0};

  std::string_view name() const override { return "fake"; }
  std::string_view hash() const override { return "fake-hash"; }
  Status supports(const Shape&, const DeviceFacts&) const override { return {}; }

  SpaceDefinition space(const Shape&, const DeviceFacts&) const override {
    SpaceDefinition definition;
    Axis size{.name = "size", .pointer = "/size", .values = {}, .help = "how much"};
    for (const std::int64_t value : sizes) size.values.emplace_back(value);
    definition.axes.push_back(size);
    if (with_shades) {
      definition.axes.push_back({.name = "shade",
                                 .pointer = "/shade",
                                 .values = {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}},
                                 .help = ""});
    }
    if (with_faults) {
      definition.axes.push_back({.name = "fault",
                                 .pointer = "/fault",
                                 .values = {std::string("none"), std::string("syntax"), std::string("spill")},
                                 .help = ""});
    }
    return definition;
  }

  Config default_config(const Shape&, const DeviceFacts&) const override {
    Config config;
    config.set("size", sizes.front());
    if (with_shades) config.set("shade", std::int64_t{0});
    if (with_faults) config.set("fault", std::string("none"));
    return config;
  }

  KernelSource render(const Shape&, const DeviceFacts&, const Config& config) const override {
    ++rendered;
    KernelSource source{.name = "fake.cu", .text = "", .headers = {}, .options = {}, .entry = "fake"};
    const std::string fault = with_faults ? config.text("fault") : "none";
    const std::string size = std::to_string(config.integer("size"));
    if (fault == "syntax") source.text = "extern \"C\" __global__ void fake(int* p) { *p = " + size + " }";
    if (fault == "none") source.text = "extern \"C\" __global__ void fake(int* p) { *p = " + size + "; }";
    if (config.integer("size") == kSlowToCompile) {
      source.text = "extern \"C\" __global__ void fake(float* p) { float x = *p;\n";
      for (int i = 0; i < 70; ++i) source.text += "x += sinf(x);\n";
      source.text += "*p = x; }";
    }
    if (fault == "spill") {
      source.text =
          "extern \"C\" __global__ void __launch_bounds__(1024) fake(float* p) { float a[320];\n"
          "#pragma unroll\nfor (int i = 0; i < 320; ++i) a[i] = p[i * " +
          size +
          "];\n"
          "__syncthreads();\n"
          "#pragma unroll\nfor (int i = 0; i < 320; ++i) p[i * i] = a[i] * a[319 - i]; }";
      source.options = {"--maxrregcount=24"};
    }
    return source;
  }

  LaunchSpec launch_spec(const Shape&, const DeviceFacts&, const Config&) const override { return {}; }
  Result<KernelArgument> bind(const Shape&, const Config&, const AttentionTensors&) const override {
    return KernelArgument{};
  }
};

}  // namespace attune
