// Group normalisation and its gradient, NHWC; a block for each group of each image, whose elements it reads again from
// the caches. A column of threads has every blockDim.x-th channel of the group, a line every blockDim.y-th pixel. Sums
// are in double, of distances from the group's first element, so a mean far from zero costs no accuracy. Bound by
// memory, and by the arithmetic in double where that is slow.
using T = ELEMENT;
#include "vector.cuh"
#include "rows.cuh"

struct Group {
    long long first;  // element
    int image, group, pixels, channels, wide;

    __device__ inline Group(int groups, int pixels, int channels) : pixels(pixels), channels(channels) {
        wide = channels / groups;
        image = blockIdx.x / groups;
        group = blockIdx.x - image * groups;
        first = (long long)image * pixels * channels + group * wide;
    }
    __device__ inline double count() const { return (double)pixels * wide; }

    // function(place, channel of the group) of each element that is this thread's
    template <class Function> __device__ inline void each(Function function) const {
        for (int c = threadIdx.x; c < wide; c += blockDim.x) {
            for (int row = threadIdx.y; row < pixels; row += blockDim.y) {
                function(first + (long long)row * channels + c, c);
            }
        }
    }
};

// The sum over all 256 threads, by halves.
__device__ inline double sum_over_block(double mine, double* shared) {
    const int thread = threadIdx.y * blockDim.x + threadIdx.x;
    shared[thread] = mine;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (thread < half) shared[thread] += shared[thread + half];
        __syncthreads();
    }
    const double total = shared[0];
    __syncthreads();
    return total;
}

extern "C" __global__ void __launch_bounds__(256, 4)
    group_norm_images(const T* x, const T* gamma, const T* beta, T* out, T* mean, T* rest, T* rstd, int groups,
                      int pixels, int channels, double eps) {
    __shared__ double shared[256];
    const Group group(groups, pixels, channels);
    const double origin = x[group.first];
    double total = 0, squares = 0;
    group.each([&](long long place, int) { total += (double)x[place] - origin; });
    const double distance = sum_over_block(total, shared) / group.count();
    group.each([&](long long place, int) {
        const double away = (double)x[place] - origin - distance;
        squares += away * away;
    });
    const double variance = sum_over_block(squares, shared) / group.count();
    const T rounded = (T)(origin + distance), left = (T)((origin - (double)rounded) + distance);
    const T factor = (T)(1 / sqrt(variance + eps));
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        mean[blockIdx.x] = rounded;
        rest[blockIdx.x] = left;
        rstd[blockIdx.x] = factor;
    }
    const int channel = group.group * group.wide;
    group.each([&](long long place, int c) {
        const T z = ((x[place] - rounded) - left) * factor;
        out[place] = gamma ? z * gamma[channel + c] + beta[channel + c] : z;
    });
}

extern "C" __global__ void __launch_bounds__(256, 4)
    group_norm_gradient(const T* grad, const T* x, const T* gamma, const T* mean, const T* rest, const T* rstd,
                        double* sums, double* products, T* out, int groups, int pixels, int channels) {
    __shared__ double shared[256];
    const Group group(groups, pixels, channels);
    const T rounded = mean[blockIdx.x], left = rest[blockIdx.x], factor = rstd[blockIdx.x];
    const int channel = group.group * group.wide;
    double total = 0, product = 0;
    for (int base = 0; base < group.wide; base += blockDim.x) {
        const int c = base + threadIdx.x;
        Pack<double, 1> sum = splat<double, 1>(0), with_z = sum;
        for (int row = threadIdx.y; row < pixels && c < group.wide; row += blockDim.y) {
            const long long place = group.first + (long long)row * channels + c;
            const double g = grad[place];
            sum.lane[0] += g;
            with_z.lane[0] += g * (double)(((x[place] - rounded) - left) * factor);
        }
        sum = sum_over_lines<double, 1>(sum, (Pack<double, 1>*)shared);
        with_z = sum_over_lines<double, 1>(with_z, (Pack<double, 1>*)shared);
        if (threadIdx.y == 0 && c < group.wide) {
            const long long place = (long long)group.image * channels + channel + c;
            const double scale = gamma ? (double)gamma[channel + c] : 1.0;
            sums[place] = sum.lane[0];
            products[place] = with_z.lane[0];
            total += scale * sum.lane[0];
            product += scale * with_z.lane[0];
        }
    }
    const T offset = (T)(sum_over_block(total, shared) / group.count() * (double)factor);
    const T slope = (T)(sum_over_block(product, shared) / group.count() * (double)factor);
    group.each([&](long long place, int c) {
        const T z = ((x[place] - rounded) - left) * factor;
        const T own = gamma ? grad[place] * (factor * gamma[channel + c]) : grad[place] * factor;
        out[place] = own - (offset + z * slope);
    });
}

// The gradients of gamma and beta: over the images, in order; a thread a channel.
extern "C" __global__ void __launch_bounds__(256, 4)
    sum_images(const double* sums, const double* products, T* grad_gamma, T* grad_beta, int images, int channels) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    double sum = 0, product = 0;
    for (int image = 0; image < images; ++image) {
        sum += sums[(long long)image * channels + c];
        product += products[(long long)image * channels + c];
    }
    grad_beta[c] = (T)sum;
    grad_gamma[c] = (T)product;
}
