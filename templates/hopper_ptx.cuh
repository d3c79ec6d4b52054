// The PTX of the Hopper attention kernel: every instruction that C++ does not have, one function each, nothing else.
//
// Section numbers name the PTX ISA manual (9.0). Needs sm_90a. No CUDA or standard header is included.
#pragma once
#include "hopper_params.cuh"

#ifndef ATTUNE_FP16
#define ATTUNE_FP16 0
#endif
#if ATTUNE_FP16
#define ATTUNE_TYPE "f16"
#else
#define ATTUNE_TYPE "bf16"
#endif

namespace ptx {

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

__device__ __forceinline__ u32 smem_address(const void* pointer) {
  return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

// ---- mbarrier (9.7.13.15): arrivals and bytes of a phase; a wait names the parity of the phase it waits for ----

__device__ __forceinline__ void mbarrier_init(u32 barrier, u32 arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void mbarrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void mbarrier_arrive_expect_bytes(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ void mbarrier_wait(u32 barrier, u32 parity) {
  asm volatile(
      "{\n.reg .pred done;\n"
      "WAIT:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra DONE;\nbra WAIT;\nDONE:\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// Makes initialised barriers visible to the copy engine (9.7.13.4).
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Orders this thread's ordinary shared-memory accesses with those of the copy engine and of wgmma (9.7.13.4).
__device__ __forceinline__ void fence_async_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- named barriers (9.7.13.1): sync waits, arrive only counts ----

__device__ __forceinline__ void barrier_sync(u32 id, u32 threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void barrier_arrive(u32 id, u32 threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Waits; true where the value is true in any of the threads.
__device__ __forceinline__ bool barrier_any(u32 id, u32 threads, bool value) {
  u32 any;
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %3, 0;\nbarrier.cta.red.or.pred p, %1, %2, p;\nselp.u32 %0, 1, 0, p;\n}"
      : "=r"(any)
      : "r"(id), "r"(threads), "r"(static_cast<u32>(value))
      : "memory");
  return any != 0;
}

// The same value, in a way that ptxas cannot compute before the barrier above: through a clock reading, of which the mask,
// zero, leaves nothing.
__device__ __forceinline__ float after_barrier(float value, u32 zero) {
  u32 clock;
  asm volatile("mov.u32 %0, %%clock;" : "=r"(clock)::"memory");
  return __int_as_float(__float_as_int(value) | static_cast<int>(clock & zero));
}

// ---- tensor copies (9.7.9.27) ----

// The L2 policy "evict first" as createpolicy.fractional encodes it for a fraction of one.
constexpr u64 kPolicyEvictFirst = 0x12F0000000000000ull;

__device__ __forceinline__ void prefetch_tensor_map(const attune::HopperTensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// Copies the box at (column, row, head, batch) to shared memory and counts its bytes at the barrier.
template <bool kEvictFirst>
__device__ __forceinline__ void copy_box(u32 destination, const attune::HopperTensorMap& map, u32 barrier, int column, int row, int head,
                                         int batch) {
  if constexpr (!kEvictFirst) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
        "[%6];" ::"r"(destination),
        "l"(&map), "r"(column), "r"(row), "r"(head), "r"(batch), "r"(barrier)
        : "memory");
  } else {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, "
        "%3, %4, %5}], [%6], %7;" ::"r"(destination),
        "l"(&map), "r"(column), "r"(row), "r"(head), "r"(batch), "r"(barrier), "l"(kPolicyEvictFirst)
        : "memory");
  }
}

// The reverse, by this thread (9.7.9.27.1.2): boxes of shared memory to global memory, none of what lies outside the tensor.
__device__ __forceinline__ void store_box(const attune::HopperTensorMap& map, u32 source, int column, int row, int head, int batch) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3, %4}], [%5];" ::"l"(&map), "r"(column),
               "r"(row), "r"(head), "r"(batch), "r"(source)
               : "memory");
}
// Until all boxes stored by this thread have been read from shared memory.
__device__ __forceinline__ void wait_for_stored_boxes() {
  asm volatile("cp.async.bulk.commit_group;\ncp.async.bulk.wait_group.read 0;" ::: "memory");
}

// ---- register reallocation (9.7.20.5): all warps of a warpgroup execute it ----

template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- arithmetic ----

__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float log2_approx(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two floats as one register of the kernel's 16-bit type, the first in the low half.
__device__ __forceinline__ u32 pack(float low, float high) {
  u32 packed;
  asm("cvt.rn." ATTUNE_TYPE "x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

__device__ __forceinline__ void store_global(void* pointer, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(pointer), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
__device__ __forceinline__ void store_global(void* pointer, u32 a) {
  asm volatile("st.global.b32 [%0], %1;" ::"l"(pointer), "r"(a) : "memory");
}

// Two words that other CTAs read or have written, past the first-level cache.
__device__ __forceinline__ void store_for_other_ctas(float* pointer, float a, float b) {
  asm volatile("st.global.cg.v2.f32 [%0], {%1, %2};" ::"l"(pointer), "f"(a), "f"(b) : "memory");
}
__device__ __forceinline__ float2 load_of_other_ctas(const float* pointer) {
  float2 value;
  asm volatile("ld.global.cg.v2.f32 {%0, %1}, [%2];" : "=f"(value.x), "=f"(value.y) : "l"(pointer) : "memory");
  return value;
}

// Four 8x8 matrices of 16-bit elements; lane i names the address of row i % 8 of matrix i / 8 (9.7.14.5.15).
__device__ __forceinline__ void load_matrices(u32 address, u32& a, u32& b, u32& c, u32& d) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
               : "r"(address)
               : "memory");
}

// The reverse, with the same addresses (9.7.14.5.16).
__device__ __forceinline__ void store_matrices(u32 address, u32 a, u32 b, u32 c, u32 d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(a), "r"(b), "r"(c), "r"(d)
               : "memory");
}

// True in one lane of a converged warp.
__device__ __forceinline__ bool elect_one() {
  u32 elected;
  asm volatile(
      "{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}"
      : "=r"(elected));
  return elected != 0;
}

// ---- wgmma (9.7.15): D[64, N] (+)= A[64, 16] B[16, N], asynchronous, by the 128 threads of a warpgroup ----
//
// Thread t of the warpgroup holds of D the rows 16*(t/32) + (t%32)/4 and that + 8; d[4*j + 2*h + e] is its element of
// row half h at column 8*j + 2*(t%4) + e. A in registers has the same layout, two 16-bit elements a register. The products
// themselves, wgmma_scores and wgmma_output, are rendered for a config (hopper_gemm.h).

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most kPending groups are in flight.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Keeps the compiler from moving reads or writes of registers across this point: it knows nothing of wgmma's asynchrony.
template <int kCount>
__device__ __forceinline__ void pin(float (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}
__device__ __forceinline__ void pin(float& value) { asm volatile("" : "+f"(value)); }
template <int kCount>
__device__ __forceinline__ void pin(u32 (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

// Shared-memory operand descriptor (9.7.15.5.1.2): address, leading and stride offsets in units of 16 bytes; the swizzle
// span in bytes selects the layout type. Moving along the operand adds (bytes / 16) to the low word.
template <int kSwizzleBytes>
__device__ __forceinline__ u64 operand_descriptor(u32 address, u32 leading_bytes, u32 stride_bytes) {
  constexpr u64 kLayout = kSwizzleBytes == 128 ? 1 : kSwizzleBytes == 64 ? 2 : 3;
  return static_cast<u64>((address & 0x3FFFF) >> 4) | static_cast<u64>(leading_bytes >> 4) << 16 |
         static_cast<u64>(stride_bytes >> 4) << 32 | kLayout << 62;
}

}  // namespace ptx
