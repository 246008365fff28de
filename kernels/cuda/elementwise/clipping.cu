// Limits of gradients: of each element, or of their norm. Sums in double, in an order that depends on the size only.
using T = ELEMENT;
#include "vector.cuh"
#include "map.cuh"
#include "block.cuh"

constexpr int CHUNK = 16384;  // elements of a block, as clipping.py has it

// NaN stays.
extern "C" __global__ void __launch_bounds__(256, 4) clip_array(const T* x, T* out, long long n, T limit) {
    map(x, out, n, [limit](T v) { return v > limit ? limit : v < -limit ? -limit : v; });
}

extern "C" __global__ void __launch_bounds__(256, 4) sum_square_parts(const T* x, double* sums, long long n) {
    __shared__ double shared[256];
    const long long first = blockIdx.x * (long long)CHUNK, stop = first + CHUNK < n ? first + CHUNK : n;
    double total = 0;
    for (long long i = first + threadIdx.x; i < stop; i += blockDim.x) total += (double)x[i] * (double)x[i];
    total = sum_over_block(total, shared);
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

// One block.
extern "C" __global__ void __launch_bounds__(256, 4)
    add_square_parts(const double* sums, double* squares, long long count) {
    __shared__ double shared[256];
    double total = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) total += sums[i];
    total = sum_over_block(total, shared);
    if (threadIdx.x == 0) *squares = total;
}

extern "C" __global__ void __launch_bounds__(256, 4)
    scale_to_norm(const T* x, const double* squares, T* out, long long n, int parts, double limit) {
    double total = 0;
    for (int i = 0; i < parts; ++i) total += squares[i];
    const double factor = limit / (sqrt(total) + 1e-6);
    const T by = (T)(factor > 1 ? 1.0 : factor);
    map(x, out, n, [by](T v) { return v == T(0) ? v : v * by; });
}
