// Device code of measuring and verifying: random inputs, output comparison, L2 flush. Self-contained (NVRTC
// without headers). Every kernel takes one struct by value and walks its data with a grid-stride loop.

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

enum ElementType : int { kBf16 = 0, kFp16 = 1, kFp32 = 2 };

__device__ __forceinline__ float widen(u16 bits, int type) {
  float value;
  if (type == kBf16) {
    value = __uint_as_float(static_cast<u32>(bits) << 16);
  } else {
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  }
  return value;
}

__device__ __forceinline__ u16 narrow(float value, int type) {
  u16 bits;
  if (type == kBf16) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  } else {
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  }
  return bits;
}

__device__ __forceinline__ u64 thread_index() { return u64(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ u64 thread_count() { return u64(gridDim.x) * blockDim.x; }

// splitmix64 (Steele, Lea, Flood, OOPSLA 2014): a counter in, 64 well mixed bits out.
__device__ __forceinline__ u64 mix(u64 x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

struct FillNormal {
  u16* data;
  u64 count;
  u64 seed;
  float scale;
  int type;
};

// data[i] = scale * N(0, 1), the same for the same seed on every GPU (Box-Muller on two uniforms of mix(seed, i)).
extern "C" __global__ void fill_normal(const __grid_constant__ FillNormal p) {
  for (u64 i = thread_index(); i < p.count; i += thread_count()) {
    const u64 bits = mix(mix(p.seed) + i);
    const float u = (static_cast<float>(bits >> 40) + 0.5f) * (1.0f / 16777216.0f);
    const float angle = static_cast<float>((bits >> 16) & 0xFFFFFF) * (6.2831853f / 16777216.0f);
    p.data[i] = narrow(p.scale * sqrtf(-2.0f * logf(u)) * cosf(angle), p.type);
  }
}

struct Comparison {
  double squared_difference;
  double squared_reference;
  u64 non_finite;       // outputs that are NaN or infinite where the reference is not the same infinity
  u32 max_abs_bits;     // float bits of the largest |output - reference|; non-negative floats order as integers
  u32 reserved;
};

struct CompareOutputs {
  const void* output;      // of `type`
  const float* reference;
  u64 count;
  Comparison* result;      // zeroed by the caller
  int type;
};

extern "C" __global__ void compare_outputs(const __grid_constant__ CompareOutputs p) {
  double difference2 = 0, reference2 = 0;
  u64 non_finite = 0;
  float max_abs = 0;
  for (u64 i = thread_index(); i < p.count; i += thread_count()) {
    const float out = p.type == kFp32 ? static_cast<const float*>(p.output)[i]
                                      : widen(static_cast<const u16*>(p.output)[i], p.type);
    const float ref = p.reference[i];
    if (isinf(ref) && out == ref) continue;  // the log-sum-exp of a row that sees no key
    if (!isfinite(out)) {
      ++non_finite;
      continue;
    }
    const float difference = out - ref;
    difference2 += double(difference) * difference;
    reference2 += double(ref) * ref;
    max_abs = fmaxf(max_abs, fabsf(difference));
  }
  for (int lane = 16; lane > 0; lane /= 2) {
    difference2 += __shfl_xor_sync(~0u, difference2, lane);
    reference2 += __shfl_xor_sync(~0u, reference2, lane);
    non_finite += __shfl_xor_sync(~0u, non_finite, lane);
    max_abs = fmaxf(max_abs, __shfl_xor_sync(~0u, max_abs, lane));
  }
  if (threadIdx.x % 32 == 0) {
    atomicAdd(&p.result->squared_difference, difference2);
    atomicAdd(&p.result->squared_reference, reference2);
    atomicAdd(&p.result->non_finite, non_finite);
    atomicMax(&p.result->max_abs_bits, __float_as_uint(max_abs));
  }
}

struct CountDifferences {
  const u32* a;
  const u32* b;
  u64 words;
  u64* result;  // zeroed by the caller
};

extern "C" __global__ void count_differences(const __grid_constant__ CountDifferences p) {
  u64 differing = 0;
  for (u64 i = thread_index(); i < p.words; i += thread_count()) differing += p.a[i] != p.b[i];
  for (int lane = 16; lane > 0; lane /= 2) differing += __shfl_xor_sync(~0u, differing, lane);
  if (threadIdx.x % 32 == 0 && differing != 0) atomicAdd(p.result, differing);
}

struct FlushL2 {
  uint4* scratch;  // several times the L2
  u64 scratch_vectors;
  const char* tensors[4];
  u64 tensor_bytes[4];
  u32 value;
};

// Writing more than the L2 holds evicts lines of normal priority only: what a kernel loaded with evict_last
// would stay and make its next, supposedly cold, sample warm. So the tensors' lines are put back to normal
// priority first (PTX ISA, applypriority).
extern "C" __global__ void flush_l2(const __grid_constant__ FlushL2 p) {
  for (int tensor = 0; tensor < 4; ++tensor) {
    for (u64 line = thread_index(); line * 128 < p.tensor_bytes[tensor]; line += thread_count()) {
      asm volatile("applypriority.global.L2::evict_normal [%0], 128;" ::"l"(p.tensors[tensor] + line * 128) : "memory");
    }
  }
  for (u64 i = thread_index(); i < p.scratch_vectors; i += thread_count()) {
    p.scratch[i] = make_uint4(p.value, p.value, p.value, p.value);
  }
}
