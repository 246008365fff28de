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
#define __forceinline__ __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }

#define threadIdx emulator::places.thread
#define blockIdx emulator::places.block
#define blockDim emulator::places.block_size
#define gridDim emulator::places.grid_size

#define EMULATOR_LINE int line = __builtin_LINE()
inline void __syncthreads(EMULATOR_LINE) { emulator::barrier(line); }
inline void __syncwarp(unsigned mask = ~0u, EMULATOR_LINE) { emulator::sync_warp(mask, line); }

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
template <class T> inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, EMULATOR_LINE) {
    return emulator_shuffle(emulator::Shuffle::exclusive_or, mask, value, lanes, width, line);
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
#undef EMULATOR_ATOMIC

inline unsigned __float_as_uint(float value) { return __builtin_bit_cast(unsigned, value); }
inline float __uint_as_float(unsigned bits) { return __builtin_bit_cast(float, bits); }
inline float __int_as_float(int bits) { return __builtin_bit_cast(float, bits); }
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
