// Batch normalisation over the rows of an array of rows x channels. Sums come in three steps: a thread adds up to 32
// rows in T, as distances from a value of the channel, so that a mean far from zero costs no digits; a block adds its
// threads in double; one block for some channels adds the parts in double. All orders depend on the shape alone. Bound
// by memory: forward reads x twice, backward x and the gradient twice.
using T = ELEMENT;
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

// Sums over a part of two terms, in double; the first line of threads writes them.
template <int W>
__device__ inline void add_lines(const Pack<T, W>& a, const Pack<T, W>& b, Pack<double, W>* shared,
                                 Pack<double, W>& sum_a, Pack<double, W>& sum_b) {
    for (int k = 0; k < W; ++k) sum_a.lane[k] = a.lane[k], sum_b.lane[k] = b.lane[k];
    sum_a = sum_over_lines<double, W>(sum_a, shared);
    sum_b = sum_over_lines<double, W>(sum_b, shared);
}

template <int W>
__device__ inline void statistics_of_part(const T* x, double* means, double* squares, long long rows, int channels,
                                          int part_rows) {
    __shared__ Pack<double, W> shared[256];
    const Part part(rows, part_rows);
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        Pack<T, W> centre = splat<T, W>(0), sum = splat<T, W>(0), square = splat<T, W>(0);
        if (c < channels) {
            centre = load<T, W>(x + part.first * channels + c);
            for (long long row = part.first + threadIdx.y; row < part.stop; row += blockDim.y) {
                const Pack<T, W> value = load<T, W>(x + row * channels + c);
                for (int k = 0; k < W; ++k) {
                    const T distance = value.lane[k] - centre.lane[k];
                    sum.lane[k] += distance;
                    square.lane[k] += distance * distance;
                }
            }
        }
        Pack<double, W> total, squared;
        add_lines<W>(sum, square, shared, total, squared);
        if (threadIdx.y == 0 && c < channels) {
            const double count = (double)(part.stop - part.first);
            for (int k = 0; k < W; ++k) {
                const long long place = blockIdx.x * (long long)channels + c + k;
                const double mean = total.lane[k] / count;
                means[place] = centre.lane[k] + mean;
                squares[place] = squared.lane[k] - total.lane[k] * mean;
            }
        }
    }
}

// Mean of each part, and the sum of the squared distances from it.
extern "C" __global__ void __launch_bounds__(256, 4)
    batch_norm_statistics(const T* x, double* means, double* squares, long long rows, int channels, int part_rows) {
    if (channels % WIDTH == 0 && on_boundary(x, 16)) {
        statistics_of_part<WIDTH>(x, means, squares, rows, channels, part_rows);
    } else {
        statistics_of_part<1>(x, means, squares, rows, channels, part_rows);
    }
}

// From here a column of threads has one channel, and its threads take every blockDim.y-th part.
__device__ inline double sum_of_column(double mine, double* shared) {
    return sum_over_lines<double, 1>(Pack<double, 1>{{mine}}, (Pack<double, 1>*)shared).lane[0];
}

// Statistics of all rows: sum of squares = that within the parts + that of their means. Then ``y = (x - mean) * factor
// + shift`` with the mean rounded to T; the shift makes up for the rounding.
extern "C" __global__ void __launch_bounds__(256, 4)
    combine_statistics(const double* means, const double* squares, const T* gamma, const T* beta, T* mean, T* var,
                       T* factor, T* shift, long long rows, int parts, int channels, int part_rows, double eps) {
    __shared__ double shared[256];
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    const bool active = c < channels;
    double total = 0, squared = 0;
    for (int part = threadIdx.y; active && part < parts; part += blockDim.y) {
        const double count = part + 1 < parts ? part_rows : rows - (long long)part * part_rows;
        total += count * means[part * (long long)channels + c];
    }
    const double exact = sum_of_column(total, shared) / rows;
    for (int part = threadIdx.y; active && part < parts; part += blockDim.y) {
        const double count = part + 1 < parts ? part_rows : rows - (long long)part * part_rows;
        const double away = means[part * (long long)channels + c] - exact;
        squared += squares[part * (long long)channels + c] + count * away * away;
    }
    squared = sum_of_column(squared, shared);
    if (active && threadIdx.y == 0) {
        const double variance = squared / rows;
        const T rounded = (T)exact;
        mean[c] = rounded;
        var[c] = (T)variance;
        if (!gamma) return;  // the statistics alone
        const double scale = gamma[c] / sqrt(variance + eps);
        factor[c] = (T)scale;
        shift[c] = (T)(beta[c] + (rounded - exact) * scale);
    }
}

// out = (x - centre) * scale + base, for the channels from c on.
template <int W>
__device__ inline void normalise_rows(const T* x, const Pack<T, W>& centre, const Pack<T, W>& scale,
                                      const Pack<T, W>& base, T* out, long long rows, int channels, int c) {
    for (long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y; row < rows;
         row += gridDim.x * (long long)blockDim.y) {
        Pack<T, W> value = load<T, W>(x + row * channels + c);
        for (int k = 0; k < W; ++k) value.lane[k] = (value.lane[k] - centre.lane[k]) * scale.lane[k] + base.lane[k];
        store<T, W>(out + row * channels + c, value);
    }
}

template <int W>
__device__ inline void normalise_by_factor(const T* x, const T* mean, const T* factor, const T* shift, T* out,
                                           long long rows, int channels) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        const Pack<T, W> centre = load<T, W>(mean + c), scale = load<T, W>(factor + c), base = load<T, W>(shift + c);
        normalise_rows<W>(x, centre, scale, base, out, rows, channels, c);
    }
}

// With what `combine_statistics` made.
extern "C" __global__ void __launch_bounds__(256, 4)
    normalise(const T* x, const T* mean, const T* factor, const T* shift, T* out, long long rows, int channels) {
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(mean, 16) && on_boundary(factor, 16) &&
        on_boundary(shift, 16) && on_boundary(out, 16)) {
        normalise_by_factor<WIDTH>(x, mean, factor, shift, out, rows, channels);
    } else {
        normalise_by_factor<1>(x, mean, factor, shift, out, rows, channels);
    }
}

template <int W>
__device__ inline void normalise_by_variance(const T* x, const T* gamma, const T* beta, const T* mean, const T* var,
                                             T* out, long long rows, int channels, double eps) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        Pack<T, W> scale;
        for (int k = 0; k < W; ++k) scale.lane[k] = (T)(gamma[c + k] / sqrt(var[c + k] + eps));
        normalise_rows<W>(x, load<T, W>(mean + c), scale, load<T, W>(beta + c), out, rows, channels, c);
    }
}

// With statistics given.
extern "C" __global__ void __launch_bounds__(256, 4)
    normalise_inference(const T* x, const T* gamma, const T* beta, const T* mean, const T* var, T* out, long long rows,
                        int channels, double eps) {
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(mean, 16) && on_boundary(beta, 16) &&
        on_boundary(out, 16)) {
        normalise_by_variance<WIDTH>(x, gamma, beta, mean, var, out, rows, channels, eps);
    } else {
        normalise_by_variance<1>(x, gamma, beta, mean, var, out, rows, channels, eps);
    }
}

template <int W>
__device__ inline void gradient_sums_of_part(const T* grad, const T* x, const T* mean, double* sums, double* products,
                                             long long rows, int channels, int part_rows) {
    __shared__ Pack<double, W> shared[256];
    const Part part(rows, part_rows);
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        Pack<T, W> sum = splat<T, W>(0), product = splat<T, W>(0);
        if (c < channels) {
            const Pack<T, W> centre = load<T, W>(mean + c);
            for (long long row = part.first + threadIdx.y; row < part.stop; row += blockDim.y) {
                const Pack<T, W> g = load<T, W>(grad + row * channels + c), value = load<T, W>(x + row * channels + c);
                for (int k = 0; k < W; ++k) {
                    sum.lane[k] += g.lane[k];
                    product.lane[k] += g.lane[k] * (value.lane[k] - centre.lane[k]);
                }
            }
        }
        Pack<double, W> total, multiplied;
        add_lines<W>(sum, product, shared, total, multiplied);
        if (threadIdx.y == 0 && c < channels) {
            for (int k = 0; k < W; ++k) {
                const long long place = blockIdx.x * (long long)channels + c + k;
                sums[place] = total.lane[k];
                products[place] = multiplied.lane[k];
            }
        }
    }
}

// Sums over each part of grad and of ``grad * (x - mean)``.
extern "C" __global__ void __launch_bounds__(256, 4)
    batch_norm_gradient_sums(const T* grad, const T* x, const T* mean, double* sums, double* products, long long rows,
                             int channels, int part_rows) {
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(x, 16) && on_boundary(mean, 16)) {
        gradient_sums_of_part<WIDTH>(grad, x, mean, sums, products, rows, channels, part_rows);
    } else {
        gradient_sums_of_part<1>(grad, x, mean, sums, products, rows, channels, part_rows);
    }
}

// Gradients of gamma and beta, and the factors of ``grad_input = a * (grad - b) - k * (x - mean)``.
extern "C" __global__ void __launch_bounds__(256, 4)
    combine_gradients(const double* sums, const double* products, const T* gamma, const T* var, T* grad_gamma,
                      T* grad_beta, T* a, T* b, T* k, long long rows, int parts, int channels, double eps) {
    __shared__ double shared[256];
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    const bool active = c < channels;
    double sum = 0, product = 0;
    for (int part = threadIdx.y; active && part < parts; part += blockDim.y) {
        sum += sums[part * (long long)channels + c];
        product += products[part * (long long)channels + c];
    }
    sum = sum_of_column(sum, shared);
    product = sum_of_column(product, shared);
    if (active && threadIdx.y == 0) {
        const double inverse = 1 / sqrt(var[c] + eps), scale = gamma[c] * inverse;
        grad_beta[c] = (T)sum;
        grad_gamma[c] = (T)(product * inverse);
        a[c] = (T)scale;
        b[c] = (T)(sum / rows);
        k[c] = (T)(scale * inverse * inverse * product / rows);
    }
}

template <int W>
__device__ inline void apply_gradient(const T* grad, const T* x, const T* mean, const T* a, const T* b, const T* k,
                                      T* out, long long rows, int channels) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        const Pack<T, W> centre = load<T, W>(mean + c), scale = load<T, W>(a + c), shift = load<T, W>(b + c);
        const Pack<T, W> slope = load<T, W>(k + c);
        for (long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y; row < rows;
             row += gridDim.x * (long long)blockDim.y) {
            const Pack<T, W> value = load<T, W>(x + row * channels + c);
            Pack<T, W> g = load<T, W>(grad + row * channels + c);
            for (int i = 0; i < W; ++i) {
                const T straight = scale.lane[i] * (g.lane[i] - shift.lane[i]);
                g.lane[i] = straight - slope.lane[i] * (value.lane[i] - centre.lane[i]);
            }
            store<T, W>(out + row * channels + c, g);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    batch_norm_gradient_apply(const T* grad, const T* x, const T* mean, const T* a, const T* b, const T* k, T* out,
                              long long rows, int channels) {
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(x, 16) && on_boundary(mean, 16) &&
        on_boundary(a, 16) && on_boundary(b, 16) && on_boundary(k, 16) && on_boundary(out, 16)) {
        apply_gradient<WIDTH>(grad, x, mean, a, b, k, out, rows, channels);
    } else {
        apply_gradient<1>(grad, x, mean, a, b, k, out, rows, channels);
    }
}

// running = (1 - momentum) * running + momentum * batch, the variance by ``unbiased`` = count / (count - 1).
extern "C" __global__ void __launch_bounds__(256, 4)
    move_running(const T* mean, const T* var, T* running_mean, T* running_var, int channels, T momentum, T unbiased) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < channels) {
        running_mean[c] = (T(1) - momentum) * running_mean[c] + momentum * mean[c];
        running_var[c] = (T(1) - momentum) * running_var[c] + momentum * (unbiased * var[c]);
    }
}
