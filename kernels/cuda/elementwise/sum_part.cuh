// Sums over the rows of an array of rows x channels. A block sums `part_rows` rows of its channels: each thread every
// blockDim.y-th of them, then the threads of a column by halves. Parts and orders depend on the shape alone. Sums of
// parts are rows again, so the kernel is launched until one is left. Bound by memory: one read.
#include "vector.cuh"
#include "rows.cuh"

// `value_at(place)` is what is summed there.
template <int W, class ValueAt>
__device__ inline void sum_part(T* sums, long long rows, int channels, int part_rows, ValueAt value_at) {
    __shared__ Pack<T, W> shared[256];
    const long long first = blockIdx.x * (long long)part_rows;
    const long long stop = first + part_rows < rows ? first + part_rows : rows;
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        Pack<T, W> total = splat<T, W>(0);
        if (c < channels) {
            for (long long row = first + threadIdx.y; row < stop; row += blockDim.y) {
                const Pack<T, W> value = value_at(row * channels + c);
                for (int k = 0; k < W; ++k) total.lane[k] += value.lane[k];
            }
        }
        total = sum_over_lines<T, W>(total, shared);
        if (threadIdx.y == 0 && c < channels) store<T, W>(sums + blockIdx.x * (long long)channels + c, total);
    }
}
