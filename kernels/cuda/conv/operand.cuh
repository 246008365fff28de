// What the tensor cores multiply, chosen by MATH on the command line: tf32 from float, bf16 and half as 16 bits each.
#include "ptx.cuh"
#define TF32 0
#define BF16 1
#define HALF 2

#if MATH == TF32
using E = float;
__device__ inline float to_float(E x) {
    return x;
}
__device__ inline E rounded(float x) {
    return __uint_as_float(to_tf32(x));
}
#else
using E = unsigned short;
__device__ inline float to_float(E x) {
    return MATH == BF16 ? __uint_as_float((unsigned)x << 16) : from_half(x);
}
__device__ inline E rounded(float x) {
    return MATH == BF16 ? to_bf16(x) : to_half(x);
}
#endif
constexpr int VECTOR = 16 / sizeof(E);  // elements of one copy

__device__ inline void multiply_add(float (&d)[4], const unsigned (&a)[4], const unsigned* b) {
#if MATH == TF32
    mma_tf32(d, a, b);
#elif MATH == BF16
    mma_bf16(d, a, b);
#else
    mma_half(d, a, b);
#endif
}

// Copies one element into shared memory, or zero.
__device__ inline void copy_element(E* shared, const E* global, bool valid) {
#if MATH == TF32
    cp_async_4(shared, global, valid);
#else
    *shared = valid ? *global : E(0);
#endif
}
