// Batch normalisation over the rows of an array of rows x channels. Sums come in three steps: a thread adds up to 32
// rows in T, as distances from the first of them, so that a mean far from zero costs no digits; a block adds its
// threads in double; one block for some channels adds the parts in double. Where sums of a thread leave the range of T,
// it adds in double. All orders depend on the shape alone. Bound by memory: forward reads x twice, backward x and the
// gradient twice.
//
// Statistics may have a second row: what the rounding of the mean left (`rest`), and the standard deviation, for
// variances out of range (`deviation`); null where there is none. 1 / sqrt(var + eps) multiplies by itself, before
// gamma: it is in range where their product need not be.
using T = ELEMENT;
#include "batch_norm.cuh"

struct Sums {
    double sum, square;
};

// A thread's sums of distances from the first of `rows` elements, `step` apart, and of their squares.
__device__ inline Sums sums_in_double(const T* x, int rows, long long step) {
    Sums sums = {0, 0};
    for (int row = 0; row < rows; ++row) {
        const double distance = (double)x[row * step] - x[0];
        sums.sum += distance;
        sums.square += distance * distance;
    }
    return sums;
}

template <int W>
__device__ inline void statistics_of_part(const T* x, double* means, double* squares, long long rows, int channels,
                                          int part_rows) {
    __shared__ Pack<double, W> shared[256];
    const Part part(rows, part_rows);
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        const bool active = c < channels;
        const long long start = part.first + threadIdx.y;
        const int mine = start < part.stop ? (int)((part.stop - start + blockDim.y - 1) / blockDim.y) : 0;
        Pack<T, W> centre = splat<T, W>(0), sum = centre, square = centre;
        if (active && mine) {
            centre = load<T, W>(x + start * channels + c);
            for (long long row = start; row < part.stop; row += blockDim.y) {
                const Pack<T, W> value = load<T, W>(x + row * channels + c);
                for (int k = 0; k < W; ++k) {
                    const T distance = value.lane[k] - centre.lane[k];
                    sum.lane[k] += distance;
                    square.lane[k] += distance * distance;
                }
            }
        }
        // Sums of distances from the part's first row, then of squares around its mean.
        const T* origin = x + part.first * channels + c;
        Pack<double, W> distance = splat<double, W>(0), squared = distance;
        for (int k = 0; k < W && active && mine; ++k) {
            Sums sums = {sum.lane[k], square.lane[k]};
            if (!(square.lane[k] - square.lane[k] == 0))
                sums = sums_in_double(x + start * channels + c + k, mine, blockDim.y * (long long)channels);
            distance.lane[k] = sums.sum + mine * ((double)centre.lane[k] - origin[k]);
            squared.lane[k] = sums.square - sums.sum * sums.sum / mine;
        }
        const double count = (double)(part.stop - part.first);
        const Pack<double, W> sums = sum_over_lines<double, W>(distance, shared);
        for (int k = 0; k < W && mine; ++k) {
            const double away = distance.lane[k] / mine - sums.lane[k] / count;
            squared.lane[k] += mine * away * away;
        }
        squared = sum_over_lines<double, W>(squared, shared);
        if (threadIdx.y == 0 && active) {
            for (int k = 0; k < W; ++k) {
                const long long place = blockIdx.x * (long long)channels + c + k;
                means[place] = sums.lane[k] / count + ((double)origin[k] - x[c + k]);
                squares[place] = squared.lane[k];
            }
        }
    }
}

// Mean of each part, as distance from the first row, and the sum of the squared distances from it.
extern "C" __global__ void __launch_bounds__(256, 3)
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

// Statistics of all rows: sum of squares = that within the parts + that of their means. Then ``y = (x - mean) * rstd *
// gamma + shift`` with the mean rounded to T; the shift makes up for the rounding.
extern "C" __global__ void __launch_bounds__(256, 4)
    combine_statistics(const T* x, const double* means, const double* squares, const T* gamma, const T* beta, T* mean,
                       T* rest, T* var, T* deviation, T* rstd, T* shift, long long rows, int parts, int channels,
                       int part_rows, double eps) {
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
        const double variance = squared / rows, origin = x[c];
        const T rounded = (T)(origin + exact);
        const double left = (origin - rounded) + exact;
        mean[c] = rounded;
        var[c] = (T)variance;
        if (rest) rest[c] = (T)left;
        if (deviation) deviation[c] = (T)sqrt(variance);
        if (!gamma) return;  // the statistics alone
        const double scale = 1 / sqrt(variance + eps);
        rstd[c] = (T)scale;
        shift[c] = (T)(beta[c] - left * scale * gamma[c]);
    }
}

template <int W>
__device__ inline void normalise_by_rstd(const T* x, const T* mean, const T* rstd, const T* gamma, const T* shift,
                                         T* out, long long rows, int channels) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        normalise_rows<W>(x, load<T, W>(mean + c), load<T, W>(rstd + c), load<T, W>(gamma + c), load<T, W>(shift + c),
                          out, rows, channels, c, [](auto&, long long) {});
    }
}

// With what `combine_statistics` made.
extern "C" __global__ void __launch_bounds__(256, 4)
    normalise(const T* x, const T* mean, const T* rstd, const T* gamma, const T* shift, T* out, long long rows,
              int channels) {
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(mean, 16) && on_boundary(rstd, 16) &&
        on_boundary(gamma, 16) && on_boundary(shift, 16) && on_boundary(out, 16)) {
        normalise_by_rstd<WIDTH>(x, mean, rstd, gamma, shift, out, rows, channels);
    } else {
        normalise_by_rstd<1>(x, mean, rstd, gamma, shift, out, rows, channels);
    }
}

// With statistics given.
extern "C" __global__ void __launch_bounds__(256, 4)
    normalise_inference(const T* x, const T* gamma, const T* beta, const T* mean, const T* rest, const T* var,
                        const T* deviation, T* out, long long rows, int channels, double eps) {
    const auto nothing = [](auto&, long long) {};
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(gamma, 16) && on_boundary(mean, 16) &&
        on_boundary(beta, 16) && on_boundary(out, 16)) {
        normalise_by_variance<WIDTH>(x, gamma, beta, mean, rest, var, deviation, out, rows, channels, eps, nothing);
    } else {
        normalise_by_variance<1>(x, gamma, beta, mean, rest, var, deviation, out, rows, channels, eps, nothing);
    }
}

// Sums over each part of grad and of ``grad * z``, z being ``(x - mean) / sqrt(var + eps)`` with the mean as it was
// rounded, and of z itself unless `distances` is null.
extern "C" __global__ void __launch_bounds__(256, 4)
    batch_norm_gradient_sums(const T* grad, const T* x, const T* mean, const T* var, const T* deviation, double* sums,
                             double* products, double* distances, long long rows, int channels, int part_rows,
                             double eps) {
    const auto as_it_is = [](int, const auto&) { return [](auto&, const auto&, long long) {}; };
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(x, 16) && on_boundary(mean, 16)) {
        gradient_sums_of_part<WIDTH>(grad, x, mean, var, deviation, sums, products, distances, rows, channels,
                                     part_rows, eps, as_it_is);
    } else {
        gradient_sums_of_part<1>(grad, x, mean, var, deviation, sums, products, distances, rows, channels, part_rows,
                                 eps, as_it_is);
    }
}

// Gradients of gamma and beta, and the factors of ``grad_input = a * (grad - b) - k * (x - mean) * rstd``. What the
// rounding of the mean left is `rest`, or, where that is null, found in `distances`: no more than a rounding, else
// another mean was given.
extern "C" __global__ void __launch_bounds__(256, 4)
    combine_gradients(const double* sums, const double* products, const double* distances, const T* gamma,
                      const T* mean, const T* rest, const T* var, const T* deviation, T* grad_gamma, T* grad_beta,
                      T* rstd, T* a, T* b, T* k, long long rows, int parts, int channels, double eps) {
    __shared__ double shared[256];
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    const bool active = c < channels;
    double sum = 0, product = 0, distance = 0;
    for (int part = threadIdx.y; active && part < parts; part += blockDim.y) {
        sum += sums[part * (long long)channels + c];
        product += products[part * (long long)channels + c];
        if (!rest) distance += distances[part * (long long)channels + c];
    }
    sum = sum_of_column(sum, shared);
    product = sum_of_column(product, shared);
    distance = sum_of_column(distance, shared);
    if (active && threadIdx.y == 0) {
        const double inverse = rstd_of(var, deviation, c, eps), scale = gamma[c] * inverse;
        const double most = (sizeof(T) == 4 ? 0x1p-23 : 0x1p-52) * fabs((double)mean[c]) * inverse;
        const double found = fabs(distance / rows) <= most ? distance / rows : 0;
        const double left = rest ? rest[c] * inverse : found;  // in deviations
        product -= left * sum;
        grad_beta[c] = (T)sum;
        grad_gamma[c] = (T)product;
        rstd[c] = (T)inverse;
        a[c] = (T)scale;
        b[c] = (T)(sum / rows - left * product / rows);
        k[c] = (T)(scale * product / rows);
    }
}

template <int W>
__device__ inline void apply_gradient(const T* grad, const T* x, const T* mean, const T* rstd, const T* a, const T* b,
                                      const T* k, T* out, long long rows, int channels) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        const Pack<T, W> centre = load<T, W>(mean + c), scale = load<T, W>(a + c), shift = load<T, W>(b + c);
        const Pack<T, W> slope = load<T, W>(k + c), inverse = load<T, W>(rstd + c);
        for (long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y; row < rows;
             row += gridDim.x * (long long)blockDim.y) {
            const Pack<T, W> value = load<T, W>(x + row * channels + c);
            Pack<T, W> g = load<T, W>(grad + row * channels + c);
            for (int i = 0; i < W; ++i) {
                const T straight = scale.lane[i] * (g.lane[i] - shift.lane[i]);
                g.lane[i] = straight - slope.lane[i] * ((value.lane[i] - centre.lane[i]) * inverse.lane[i]);
            }
            store<T, W>(out + row * channels + c, g);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    batch_norm_gradient_apply(const T* grad, const T* x, const T* mean, const T* rstd, const T* a, const T* b,
                              const T* k, T* out, long long rows, int channels) {
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(x, 16) && on_boundary(mean, 16) &&
        on_boundary(rstd, 16) && on_boundary(a, 16) && on_boundary(b, 16) && on_boundary(k, 16) &&
        on_boundary(out, 16)) {
        apply_gradient<WIDTH>(grad, x, mean, rstd, a, b, k, out, rows, channels);
    } else {
        apply_gradient<1>(grad, x, mean, rstd, a, b, k, out, rows, channels);
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
