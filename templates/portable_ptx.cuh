// Every PTX instruction of the portable kernels, each with its PTX ISA section. Needs sm_80.
// No header is included: NVRTC compiles these files with nothing beside them.
#pragma once

namespace ptx {

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

// ---- element types -------------------------------------------------------------------------------------------------

struct Bf16 {};
struct Fp16 {};

// Two fp32 to one register of two 16-bit values, `low` in the low half (9.7.9.21 cvt: d = {a, b}, a is the upper half).
template <class T>
__device__ __forceinline__ u32 pack2(float low, float high);
template <>
__device__ __forceinline__ u32 pack2<Bf16>(float low, float high) {
  u32 d;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}
template <>
__device__ __forceinline__ u32 pack2<Fp16>(float low, float high) {
  u32 d;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
}

template <class T>
__device__ __forceinline__ float widen(u16 bits);
template <>
__device__ __forceinline__ float widen<Bf16>(u16 bits) {
  return __uint_as_float(static_cast<u32>(bits) << 16);
}
template <>
__device__ __forceinline__ float widen<Fp16>(u16 bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
  return x;
}

// Nearest value of the element type, as fp32.
template <class T>
__device__ __forceinline__ float round_to(float x) {
  return widen<T>(static_cast<u16>(pack2<T>(x, 0.0f)));
}

// ---- arithmetic ----------------------------------------------------------------------------------------------------

// 2^x, 2 ulp; ex2(-inf) = +0 (9.7.3 ex2). Subnormal results flush, which a probability does not miss.
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// log2(x), (9.7.3 lg2). lg2(0) = -inf.
__device__ __forceinline__ float log2_approx(float x) {
  float y;
  asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// d = a b + d on one 16x8 tile, 16 deep (9.7.15.5.8 mma.m16n8k16). Lane l holds, of d, rows l/4 and l/4 + 8 at columns
// 2 (l % 4) + {0, 1}; of a, the same rows at columns 2 (l % 4) + {0, 1} and + 8; of b, rows as a's columns, column l/4.
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1);
template <>
__device__ __forceinline__ void mma_m16n8k16<Bf16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void mma_m16n8k16<Fp16>(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same, 8 deep: the last slice of a head_dim that is an odd multiple of 8 (9.7.15.5.7 mma.m16n8k8).
template <class T>
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], u32 a0, u32 a1, u32 b0);
template <>
__device__ __forceinline__ void mma_m16n8k8<Bf16>(float (&d)[4], u32 a0, u32 a1, u32 b0) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(b0));
}
template <>
__device__ __forceinline__ void mma_m16n8k8<Fp16>(float (&d)[4], u32 a0, u32 a1, u32 b0) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(b0));
}

// ---- shared memory -------------------------------------------------------------------------------------------------

// Address in the shared state space of a generic pointer (5.1.8; needed by cp.async and ldmatrix).
__device__ __forceinline__ u32 shared_address(const void* p) {
  return static_cast<u32>(__cvta_generic_to_shared(p));
}

// 8x8 matrices of 16-bit values; lanes 8i..8i+7 give the row addresses of matrix i (9.7.15.5.15 ldmatrix). Volatile
// keeps their order against the barriers; ptxas, which knows what they read, still moves them for latency.
__device__ __forceinline__ void ldmatrix_x4(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ __forceinline__ void ldmatrix_x2(u32& r0, u32& r1, u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r0), "=r"(r1) : "r"(address));
}
__device__ __forceinline__ void ldmatrix_x4_trans(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
__device__ __forceinline__ void ldmatrix_x2_trans(u32& r0, u32& r1, u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r0), "=r"(r1) : "r"(address));
}

__device__ __forceinline__ void store_shared_f32(u32 address, float v) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(v) : "memory");
}
__device__ __forceinline__ float load_shared_f32(u32 address) {
  float v;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(v) : "r"(address) : "memory");
  return v;
}

// ---- L2 policies and global memory ---------------------------------------------------------------------------------

enum class Evict { kNormal, kFirst, kLast };

// A policy word for .L2::cache_hint (9.7.9.18 createpolicy); 0 for kNormal, which is never used as a hint.
template <Evict kEvict>
__device__ __forceinline__ u64 make_policy() {
  u64 p = 0;
  if constexpr (kEvict == Evict::kFirst) {
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(p));
  } else if constexpr (kEvict == Evict::kLast) {
    asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(p));
  }
  return p;
}

// 16 bytes, global to shared, past L1 (9.7.9.25.3.1 cp.async).
template <Evict kEvict>
__device__ __forceinline__ void cp_async_16(u32 dst, const void* src, u64 policy) {
  if constexpr (kEvict == Evict::kNormal) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory");
  } else {
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "l"(policy)
                 : "memory");
  }
}
// The same, zeros in place of what `valid` denies; nothing is then read from src.
template <Evict kEvict>
__device__ __forceinline__ void cp_async_16_zfill(u32 dst, const void* src, bool valid, u64 policy) {
  const u32 bytes = valid ? 16u : 0u;
  if constexpr (kEvict == Evict::kNormal) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(dst), "l"(src), "r"(bytes),
                 "l"(policy)
                 : "memory");
  }
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most kPending of this thread's newest groups are under way.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// 4 bytes of read-only global memory (9.7.9.9 ld.global.nc).
template <Evict kEvict>
__device__ __forceinline__ u32 load_global_u32(const void* src, u64 policy) {
  u32 v;
  if constexpr (kEvict == Evict::kNormal) {
    asm volatile("ld.global.nc.b32 %0, [%1];" : "=r"(v) : "l"(src));
  } else {
    asm volatile("ld.global.nc.L2::cache_hint.b32 %0, [%1], %2;" : "=r"(v) : "l"(src), "l"(policy));
  }
  return v;
}

__device__ __forceinline__ void store_global_u32(void* dst, u32 v) {
  asm volatile("st.global.b32 [%0], %1;" ::"l"(dst), "r"(v) : "memory");
}
__device__ __forceinline__ void store_global_v4(void* dst, const u32 (&v)[4]) {
  asm volatile("st.global.v4.b32 [%0], {%1,%2,%3,%4};" ::"l"(dst), "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
               : "memory");
}

}  // namespace ptx
