// What batch_norm.cu and batch_norm_activate.cu share: rows that are normalised, and sums over parts of the rows for
// the gradients; batch_norm.cu has the method.
#include "vector.cuh"
#include "rows.cuh"

// Rows of a part.
struct Part {
    long long first, stop;
    __device__ inline Part(long long rows, int part_rows) {
        first = blockIdx.x * (long long)part_rows;
        stop = first + part_rows < rows ? first + part_rows : rows;
    }
};

// Sum over a part, in double.
template <int W> __device__ inline Pack<double, W> add_lines(const Pack<T, W>& mine, Pack<double, W>* shared) {
    Pack<double, W> wide;
    for (int k = 0; k < W; ++k) wide.lane[k] = mine.lane[k];
    return sum_over_lines<double, W>(wide, shared);
}

// 1 / sqrt(var + eps) of a channel.
__device__ inline double rstd_of(const T* var, const T* deviation, int c, double eps) {
    const bool infinite = deviation && var[c] > 0 && var[c] - var[c] != 0;
    return infinite ? 1 / (double)deviation[c] : 1 / sqrt(var[c] + eps);
}

template <int W> __device__ inline Pack<T, W> rstds_of(const T* var, const T* deviation, int c, double eps) {
    Pack<T, W> rstd;
    for (int k = 0; k < W; ++k) rstd.lane[k] = (T)rstd_of(var, deviation, c + k, eps);
    return rstd;
}

// out = (x - centre) * rstd * scale + base, for the channels from c on; `finish(values, place)` comes before the store.
template <int W, class Finish>
__device__ inline void normalise_rows(const T* x, const Pack<T, W>& centre, const Pack<T, W>& rstd,
                                      const Pack<T, W>& scale, const Pack<T, W>& base, T* out, long long rows,
                                      int channels, int c, Finish finish) {
    for (long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y; row < rows;
         row += gridDim.x * (long long)blockDim.y) {
        Pack<T, W> value = load<T, W>(x + row * channels + c);
        for (int k = 0; k < W; ++k) {
            const T z = (value.lane[k] - centre.lane[k]) * rstd.lane[k];
            value.lane[k] = z * scale.lane[k] + base.lane[k];
        }
        finish(value, row * channels + c);
        store<T, W>(out + row * channels + c, value);
    }
}

// beta, less what the rounding of the mean left.
template <int W>
__device__ inline Pack<T, W> base_of(const T* beta, const T* rest, const Pack<T, W>& rstd, const Pack<T, W>& scale,
                                     int c) {
    Pack<T, W> base = load<T, W>(beta + c);
    for (int k = 0; rest && k < W; ++k) base.lane[k] -= rest[c + k] * rstd.lane[k] * scale.lane[k];
    return base;
}

template <int W, class Finish>
__device__ inline void normalise_by_variance(const T* x, const T* gamma, const T* beta, const T* mean, const T* rest,
                                             const T* var, const T* deviation, T* out, long long rows, int channels,
                                             double eps, Finish finish) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        const Pack<T, W> rstd = rstds_of<W>(var, deviation, c, eps), scale = load<T, W>(gamma + c);
        const Pack<T, W> base = base_of<W>(beta, rest, rstd, scale, c);
        normalise_rows<W>(x, load<T, W>(mean + c), rstd, scale, base, out, rows, channels, c, finish);
    }
}

// Sums over a part of grad, of ``grad * z`` and, unless `distances` is null, of z, which is ``(x - mean) * rstd``.
// `passing(c, rstd)` is a function for the channels from c on, and `pass(grad, z, place)` makes of a gradient that
// which is summed.
template <int W, class Passing>
__device__ inline void gradient_sums_of_part(const T* grad, const T* x, const T* mean, const T* var, const T* deviation,
                                             double* sums, double* products, double* distances, long long rows,
                                             int channels, int part_rows, double eps, Passing passing) {
    __shared__ Pack<double, W> shared[256];
    const Part part(rows, part_rows);
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        Pack<T, W> sum = splat<T, W>(0), product = sum, distance = sum;
        if (c < channels) {
            const Pack<T, W> centre = load<T, W>(mean + c), rstd = rstds_of<W>(var, deviation, c, eps);
            const auto pass = passing(c, rstd);
            for (long long row = part.first + threadIdx.y; row < part.stop; row += blockDim.y) {
                Pack<T, W> g = load<T, W>(grad + row * channels + c), z = load<T, W>(x + row * channels + c);
                for (int k = 0; k < W; ++k) z.lane[k] = (z.lane[k] - centre.lane[k]) * rstd.lane[k];
                pass(g, z, row * channels + c);
                for (int k = 0; k < W; ++k) {
                    sum.lane[k] += g.lane[k];
                    product.lane[k] += g.lane[k] * z.lane[k];
                    distance.lane[k] += z.lane[k];
                }
            }
        }
        const bool writes = threadIdx.y == 0 && c < channels;
        const long long place = blockIdx.x * (long long)channels + c;
        Pack<double, W> total = add_lines<W>(sum, shared);
        for (int k = 0; k < W && writes; ++k) sums[place + k] = total.lane[k];
        total = add_lines<W>(product, shared);
        for (int k = 0; k < W && writes; ++k) products[place + k] = total.lane[k];
        if (!distances) continue;
        total = add_lines<W>(distance, shared);
        for (int k = 0; k < W && writes; ++k) distances[place + k] = total.lane[k];
    }
}
