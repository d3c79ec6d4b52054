#include "autotuner/sampler.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

namespace attune {
namespace {

constexpr std::int64_t kMinScratchBytes = std::int64_t{96} << 20;

// Of sorted samples; linear between neighbours.
double quantile(const std::vector<double>& sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], place - static_cast<double>(below));
}

// Mirrors support_kernels.cuh.
struct FlushArgument {
  std::uint64_t scratch;
  std::uint64_t scratch_vectors;
  std::array<std::uint64_t, 4> tensors;
  std::array<std::uint64_t, 4> tensor_bytes;
  std::uint32_t value;
};

}  // namespace

Timing summarize(std::vector<double> samples_us) {
  std::sort(samples_us.begin(), samples_us.end());
  return {.median_us = quantile(samples_us, 0.5),
          .min_us = samples_us.front(),
          .spread_us = quantile(samples_us, 0.75) - quantile(samples_us, 0.25),
          .samples = static_cast<int>(samples_us.size())};
}

bool StoppingRule::enough(const std::vector<double>& samples_us) {
  const auto count = static_cast<int>(samples_us.size());
  if (count < kMinSamples) return false;
  if (count >= kMaxSamples) return true;
  if (std::accumulate(samples_us.begin(), samples_us.end(), 0.0) > kMaxTotalUs) return true;
  const Timing timing = summarize(samples_us);
  // Standard error of a median of normal samples: 1.253 sigma / sqrt(n), and sigma is IQR / 1.349.
  const double error_us = 1.253 * timing.spread_us / 1.349 / std::sqrt(count);
  return error_us < kRelativeError * timing.median_us;
}

Result<Sampler> Sampler::create(const Context& context, const DeviceFacts& facts, const Module& support,
                                MeasurementPolicy policy) {
  auto scratch = DeviceBuffer::allocate(context, std::max(kMinScratchBytes, 2 * facts.l2_bytes));
  if (!scratch) return scratch.error();
  auto flush = support.kernel("flush_l2");
  if (!flush) return flush.error();
  return Sampler(context, std::move(*scratch), *flush, policy, facts.sm_count);
}

Status Sampler::flush(const Stream& stream, std::span<const MemoryRange> tensors) {
  FlushArgument argument{};
  argument.scratch = scratch_.address();
  argument.scratch_vectors = static_cast<std::uint64_t>(scratch_.bytes()) / 16;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    argument.tensors.at(i) = tensors[i].address;
    argument.tensor_bytes.at(i) = static_cast<std::uint64_t>(tensors[i].bytes);
  }
  const KernelLaunch launch{.grid = {static_cast<unsigned>(sm_count_) * 2, 1, 1}, .block = {1024, 1, 1}};
  return flush_.launch(launch, std::as_bytes(std::span(&argument, 1)), stream);
}

Result<std::vector<double>> Sampler::sample(const Stream& stream, std::span<const MemoryRange> tensors,
                                            int count, const std::function<Status()>& launch) {
  std::optional<Graph> graph;
  if (policy_.cuda_graph) {
    auto captured = Graph::capture(stream, launch);
    if (!captured) return captured.error();
    graph = std::move(*captured);
  }
  const auto count_size = static_cast<std::size_t>(count);
  while (events_.size() < count_size) {
    auto start = Event::create(*context_);
    if (!start) return start.error();
    auto end = Event::create(*context_);
    if (!end) return end.error();
    events_.emplace_back(std::move(*start), std::move(*end));
  }
  for (std::size_t i = 0; i < count_size; ++i) {
    if (policy_.cold_l2) {
      if (auto status = flush(stream, tensors); !status) return status.error();
    }
    if (auto status = events_[i].first.record(stream); !status) return status.error();
    if (auto status = graph ? graph->launch(stream) : launch(); !status) return status.error();
    if (auto status = events_[i].second.record(stream); !status) return status.error();
  }
  if (auto status = stream.synchronize(); !status) return status.error();
  std::vector<double> samples_us;
  for (std::size_t i = 0; i < count_size; ++i) {
    auto elapsed = Event::elapsed_us(events_[i].first, events_[i].second);
    if (!elapsed) return elapsed.error();
    samples_us.push_back(*elapsed);
  }
  return samples_us;
}

Status Sampler::warm_up(const Stream& stream, int milliseconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (std::chrono::steady_clock::now() < end) {
    for (int i = 0; i < 8; ++i) {
      if (auto status = flush(stream, {}); !status) return status;
    }
    if (auto status = stream.synchronize(); !status) return status;
  }
  return {};
}

}  // namespace attune
