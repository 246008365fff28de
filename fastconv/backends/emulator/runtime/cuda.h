// The part of the CUDA language that the kernels use, for g++: included before a kernel's source.
#pragma once
#define FASTCONV_EMULATOR 1
#include <cmath>
#include <cstring>
#include <type_traits>

#include "emulator.h"

// `__shared__` declarations are rewritten to emulator::shared before this is compiled (compiler.py).
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct alignas(8) int2 {
    int x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

#define threadIdx emulator::places.thread
#define blockIdx emulator::places.block
#define blockDim emulator::places.block_size
#define gridDim emulator::places.grid_size
constexpr int warpSize = 32;

#define EMULATOR_LINE int line = __builtin_LINE()
inline void __syncthreads(EMULATOR_LINE) { emulator::barrier(0, line); }
inline int __syncthreads_count(int predicate, EMULATOR_LINE) { return emulator::barrier(predicate != 0, line); }
inline int __syncthreads_or(int predicate, EMULATOR_LINE) { return emulator::barrier(predicate != 0, line) != 0; }
inline int __syncthreads_and(int predicate, EMULATOR_LINE) { return emulator::barrier(predicate == 0, line) == 0; }
inline void __syncwarp(unsigned mask = ~0u, EMULATOR_LINE) { emulator::sync_warp(mask, line); }
inline unsigned __ballot_sync(unsigned mask, int p, EMULATOR_LINE) { return emulator::ballot(mask, p, line); }
inline int __any_sync(unsigned mask, int p, EMULATOR_LINE) { return emulator::ballot(mask, p, line) != 0; }
inline int __all_sync(unsigned mask, int p, EMULATOR_LINE) { return emulator::ballot(mask, !p, line) == 0; }
inline unsigned __activemask() { return emulator::active_lanes(); }

template <class T>
inline T emulator_shuffle(emulator::Shuffle kind, unsigned mask, T value, int argument, int width, int line) {
    static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "shuffles move numbers of 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    bits = emulator::shuffle(kind, mask, bits, argument, width, line);
    memcpy(&value, &bits, sizeof(T));
    return value;
}
template <class T> inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, EMULATOR_LINE) {
    return emulator_shuffle(emulator::Shuffle::index, mask, value, lane, width, line);
}
template <class T> inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_LINE) {
    return emulator_shuffle(emulator::Shuffle::up, mask, value, delta, width, line);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMULATOR_LINE) {
    return emulator_shuffle(emulator::Shuffle::down, mask, value, delta, width, line);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, EMULATOR_LINE) {
    return emulator_shuffle(emulator::Shuffle::exclusive_or, mask, value, lanes, width, line);
}
inline int __reduce_add_sync(unsigned mask, int value, EMULATOR_LINE) {
    return emulator::reduce(emulator::Reduction::add, mask, value, line);
}
inline int __reduce_min_sync(unsigned mask, int value, EMULATOR_LINE) {
    return emulator::reduce(emulator::Reduction::minimum, mask, value, line);
}
inline int __reduce_max_sync(unsigned mask, int value, EMULATOR_LINE) {
    return emulator::reduce(emulator::Reduction::maximum, mask, value, line);
}
#undef EMULATOR_LINE

// Fibres run one at a time, so a plain read and write is atomic; the race check is told and does not look inside.
#define EMULATOR_ATOMIC template <class T> __attribute__((no_sanitize("thread"), noinline))
EMULATOR_ATOMIC T atomicAdd(T* address, std::type_identity_t<T> value) {
    emulator::note_atomic(address, sizeof(T), __builtin_return_address(0));
    const T old = *address;
    *address = old + value;
    return old;
}
EMULATOR_ATOMIC T atomicMax(T* address, std::type_identity_t<T> value) {
    emulator::note_atomic(address, sizeof(T), __builtin_return_address(0));
    const T old = *address;
    if (value > old) *address = value;
    return old;
}
#undef EMULATOR_ATOMIC
inline void __threadfence() {}
inline void __threadfence_block() {}
[[noreturn]] inline void __trap() { emulator::fault("__trap()"); }

template <class T> inline T __ldg(const T* address) { return *address; }
template <class T> inline T __ldcs(const T* address) { return *address; }
template <class T> inline void __stcs(T* address, std::type_identity_t<T> value) { *address = value; }
inline unsigned __float_as_uint(float value) { return __builtin_bit_cast(unsigned, value); }
inline int __float_as_int(float value) { return __builtin_bit_cast(int, value); }
inline float __uint_as_float(unsigned bits) { return __builtin_bit_cast(float, bits); }
inline float __int_as_float(int bits) { return __builtin_bit_cast(float, bits); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(bits) : 32; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
template <class A, class B> inline std::common_type_t<A, B> min(A a, B b) {
    using T = std::common_type_t<A, B>;
    return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B> inline std::common_type_t<A, B> max(A a, B b) {
    using T = std::common_type_t<A, B>;
    return T(a) < T(b) ? T(b) : T(a);
}

// A launch passes addresses of the arguments, as cuLaunchKernel does; the kernel's own type says what they are.
template <class... Arguments, size_t... I>
__attribute__((no_sanitize("thread"))) inline void emulator_call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::remove_cv_t<Arguments>*)arguments[I]...);
}
template <class... Arguments> inline void emulator_call(void (*kernel)(Arguments...), void** arguments) {
    emulator_call(kernel, arguments, std::index_sequence_for<Arguments...>());
}
template <class... Arguments> constexpr int emulator_arity(void (*)(Arguments...)) { return sizeof...(Arguments); }
#define EMULATED_KERNEL(name)                                                                                    \
    extern "C" __attribute__((visibility("default"))) void emulated_##name(void** a) { emulator_call(name, a); } \
    extern "C" __attribute__((visibility("default"))) int arguments_##name() { return emulator_arity(name); }
