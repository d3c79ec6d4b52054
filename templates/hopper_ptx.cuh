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
// row half h at column 8*j + 2*(t%4) + e. A in registers has the same layout, two 16-bit elements a register.

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

// Register lists: ATTUNE_REGS_N names the N/2 accumulators in the text, ATTUNE_OUTS_N binds them.
#define ATTUNE_OUT8(d, i)                                                                                           \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define ATTUNE_REGS_16 "%0,%1,%2,%3,%4,%5,%6,%7"
#define ATTUNE_REGS_32 ATTUNE_REGS_16 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define ATTUNE_REGS_48 ATTUNE_REGS_32 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define ATTUNE_REGS_64 ATTUNE_REGS_48 ",%24,%25,%26,%27,%28,%29,%30,%31"
#define ATTUNE_REGS_80 ATTUNE_REGS_64 ",%32,%33,%34,%35,%36,%37,%38,%39"
#define ATTUNE_REGS_96 ATTUNE_REGS_80 ",%40,%41,%42,%43,%44,%45,%46,%47"
#define ATTUNE_REGS_112 ATTUNE_REGS_96 ",%48,%49,%50,%51,%52,%53,%54,%55"
#define ATTUNE_REGS_128 ATTUNE_REGS_112 ",%56,%57,%58,%59,%60,%61,%62,%63"
#define ATTUNE_REGS_144 ATTUNE_REGS_128 ",%64,%65,%66,%67,%68,%69,%70,%71"
#define ATTUNE_REGS_160 ATTUNE_REGS_144 ",%72,%73,%74,%75,%76,%77,%78,%79"
#define ATTUNE_REGS_176 ATTUNE_REGS_160 ",%80,%81,%82,%83,%84,%85,%86,%87"
#define ATTUNE_REGS_192 ATTUNE_REGS_176 ",%88,%89,%90,%91,%92,%93,%94,%95"
#define ATTUNE_REGS_208 ATTUNE_REGS_192 ",%96,%97,%98,%99,%100,%101,%102,%103"
#define ATTUNE_REGS_224 ATTUNE_REGS_208 ",%104,%105,%106,%107,%108,%109,%110,%111"
#define ATTUNE_REGS_240 ATTUNE_REGS_224 ",%112,%113,%114,%115,%116,%117,%118,%119"
#define ATTUNE_REGS_256 ATTUNE_REGS_240 ",%120,%121,%122,%123,%124,%125,%126,%127"
#define ATTUNE_OUTS_16(d) ATTUNE_OUT8(d, 0)
#define ATTUNE_OUTS_32(d) ATTUNE_OUTS_16(d), ATTUNE_OUT8(d, 8)
#define ATTUNE_OUTS_48(d) ATTUNE_OUTS_32(d), ATTUNE_OUT8(d, 16)
#define ATTUNE_OUTS_64(d) ATTUNE_OUTS_48(d), ATTUNE_OUT8(d, 24)
#define ATTUNE_OUTS_80(d) ATTUNE_OUTS_64(d), ATTUNE_OUT8(d, 32)
#define ATTUNE_OUTS_96(d) ATTUNE_OUTS_80(d), ATTUNE_OUT8(d, 40)
#define ATTUNE_OUTS_112(d) ATTUNE_OUTS_96(d), ATTUNE_OUT8(d, 48)
#define ATTUNE_OUTS_128(d) ATTUNE_OUTS_112(d), ATTUNE_OUT8(d, 56)
#define ATTUNE_OUTS_144(d) ATTUNE_OUTS_128(d), ATTUNE_OUT8(d, 64)
#define ATTUNE_OUTS_160(d) ATTUNE_OUTS_144(d), ATTUNE_OUT8(d, 72)
#define ATTUNE_OUTS_176(d) ATTUNE_OUTS_160(d), ATTUNE_OUT8(d, 80)
#define ATTUNE_OUTS_192(d) ATTUNE_OUTS_176(d), ATTUNE_OUT8(d, 88)
#define ATTUNE_OUTS_208(d) ATTUNE_OUTS_192(d), ATTUNE_OUT8(d, 96)
#define ATTUNE_OUTS_224(d) ATTUNE_OUTS_208(d), ATTUNE_OUT8(d, 104)
#define ATTUNE_OUTS_240(d) ATTUNE_OUTS_224(d), ATTUNE_OUT8(d, 112)
#define ATTUNE_OUTS_256(d) ATTUNE_OUTS_240(d), ATTUNE_OUT8(d, 120)

template <int kColumns>
struct Wgmma;

// from_smem: A and B from shared memory. from_registers: A from registers. kTransposeB: B is stored [k][n], else [n][k].
#define ATTUNE_WGMMA(N, R0, R1, R2, R3, R4, R5, R6)                                                                         \
  template <>                                                                                                            \
  struct Wgmma<N> {                                                                                                      \
    template <int kTransposeB>                                                                                           \
    static __device__ __forceinline__ void from_smem(float (&d)[N / 2], u64 a, u64 b, int accumulate) {                  \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " R2 ", 0;\n"                                                        \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." ATTUNE_TYPE "." ATTUNE_TYPE " {" ATTUNE_REGS_##N    \
                   "}, " R0 ", " R1 ", p, 1, 1, 0, " R3 ";\n}"                                                           \
                   : ATTUNE_OUTS_##N(d)                                                                                  \
                   : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeB));                                                 \
    }                                                                                                                    \
    template <int kTransposeB>                                                                                           \
    static __device__ __forceinline__ void from_registers(float (&d)[N / 2], u32 a0, u32 a1, u32 a2, u32 a3, u64 b,      \
                                                          int accumulate) {                                              \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " R5 ", 0;\n"                                                        \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." ATTUNE_TYPE "." ATTUNE_TYPE " {" ATTUNE_REGS_##N    \
                   "}, {" R0 ", " R1 ", " R2 ", " R3 "}, " R4 ", p, 1, 1, " R6 ";\n}"                                         \
                   : ATTUNE_OUTS_##N(d)                                                                                  \
                   : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b), "r"(accumulate), "n"(kTransposeB));                      \
    }                                                                                                                    \
  };

ATTUNE_WGMMA(16, "%8", "%9", "%10", "%11", "%12", "%13", "%14")
ATTUNE_WGMMA(32, "%16", "%17", "%18", "%19", "%20", "%21", "%22")
ATTUNE_WGMMA(48, "%24", "%25", "%26", "%27", "%28", "%29", "%30")
ATTUNE_WGMMA(64, "%32", "%33", "%34", "%35", "%36", "%37", "%38")
ATTUNE_WGMMA(80, "%40", "%41", "%42", "%43", "%44", "%45", "%46")
ATTUNE_WGMMA(96, "%48", "%49", "%50", "%51", "%52", "%53", "%54")
ATTUNE_WGMMA(112, "%56", "%57", "%58", "%59", "%60", "%61", "%62")
ATTUNE_WGMMA(128, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
ATTUNE_WGMMA(144, "%72", "%73", "%74", "%75", "%76", "%77", "%78")
ATTUNE_WGMMA(160, "%80", "%81", "%82", "%83", "%84", "%85", "%86")
ATTUNE_WGMMA(176, "%88", "%89", "%90", "%91", "%92", "%93", "%94")
ATTUNE_WGMMA(192, "%96", "%97", "%98", "%99", "%100", "%101", "%102")
ATTUNE_WGMMA(208, "%104", "%105", "%106", "%107", "%108", "%109", "%110")
ATTUNE_WGMMA(224, "%112", "%113", "%114", "%115", "%116", "%117", "%118")
ATTUNE_WGMMA(240, "%120", "%121", "%122", "%123", "%124", "%125", "%126")
ATTUNE_WGMMA(256, "%128", "%129", "%130", "%131", "%132", "%133", "%134")

}  // namespace ptx
