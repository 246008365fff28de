// Sums over the rows of an array of rows x channels. A block sums `part_rows` rows of its channels: each thread every
// blockDim.y-th of them, then the threads of a column by halves. Parts and orders depend on the shape alone. Sums of
// parts are rows again, so the kernel is launched until one is left. Bound by memory: one read.
using T = ELEMENT;
#include "vector.cuh"
#include "rows.cuh"

template <int W> __device__ inline void sum_part(const T* x, T* sums, long long rows, int channels, int part_rows) {
    __shared__ Pack<T, W> shared[256];
    const long long first = blockIdx.x * (long long)part_rows;
    const long long stop = first + part_rows < rows ? first + part_rows : rows;
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        Pack<T, W> total = splat<T, W>(0);
        if (c < channels) {
            for (long long row = first + threadIdx.y; row < stop; row += blockDim.y) {
                const Pack<T, W> value = load<T, W>(x + row * channels + c);
                for (int k = 0; k < W; ++k) total.lane[k] += value.lane[k];
            }
        }
        total = sum_over_lines<T, W>(total, shared);
        if (threadIdx.y == 0 && c < channels) store<T, W>(sums + blockIdx.x * (long long)channels + c, total);
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    sum_rows(const T* x, T* sums, long long rows, int channels, int part_rows) {
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(sums, 16)) {
        sum_part<WIDTH>(x, sums, rows, channels, part_rows);
    } else {
        sum_part<1>(x, sums, rows, channels, part_rows);
    }
}
