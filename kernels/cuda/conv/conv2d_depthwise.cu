// Depthwise convolution: each input channel has MULTIPLIER results of its own. Neighbouring threads take neighbouring
// channels, so all reads of a warp lie together; bound by memory. Padded cells are skipped.
using T = ELEMENT;
#include "taps.cuh"
#include "epilogue.cuh"
constexpr int RESULTS = CHANNELS * MULTIPLIER;

struct Cell {
    long long image;
    int row, column, channel;
    __device__ inline Cell(long long i, int height, int width, int channels) {
        const long long pixel = i / channels, line = pixel / width;
        channel = (int)(i - pixel * channels);
        column = (int)(pixel - line * width);
        image = line / height;
        row = (int)(line - image * height);
    }
};

#if BACKWARD
// Gradient of the input: over the results p, q, k that read the cell h, w, c.
__device__ inline T result_at(const T* grad, const T* weight, const Cell& at, int height, int width, int top, int left) {
    T sum = 0;
#pragma unroll
    for (int r = 0; r < KERNEL_H; ++r) {
        const int above = at.row + top - r * DILATION_H, p = above / STRIDE_H;
        if (above < 0 || above % STRIDE_H || p >= height) continue;
#pragma unroll
        for (int s = 0; s < KERNEL_W; ++s) {
            const int before = at.column + left - s * DILATION_W, q = before / STRIDE_W;
            if (before < 0 || before % STRIDE_W || q >= width) continue;
            const long long from = ((at.image * height + p) * width + q) * RESULTS + at.channel * MULTIPLIER;
            for (int m = 0; m < MULTIPLIER; ++m)
                sum += grad[from + m] * weight[(r * KERNEL_W + s) * RESULTS + at.channel * MULTIPLIER + m];
        }
    }
    return sum;
}
constexpr int OUT_CHANNELS = CHANNELS;
#else
__device__ inline T result_at(const T* x, const T* weight, const Cell& at, int height, int width, int top, int left) {
    T sum = 0;
#pragma unroll
    for (int r = 0; r < KERNEL_H; ++r) {
        const int h = at.row * STRIDE_H - top + r * DILATION_H;
        if (!inside(h, height)) continue;
#pragma unroll
        for (int s = 0; s < KERNEL_W; ++s) {
            const int w = at.column * STRIDE_W - left + s * DILATION_W;
            if (!inside(w, width)) continue;
            sum += x[((at.image * height + h) * width + w) * CHANNELS + at.channel / MULTIPLIER] *
                   weight[(r * KERNEL_W + s) * RESULTS + at.channel];
        }
    }
    return sum;
}
constexpr int OUT_CHANNELS = RESULTS;
#endif

// `height` and `width` are those of the map that is read.
extern "C" __global__ void __launch_bounds__(256)
    conv2d_depthwise(const T* x, const T* weight, const T* bias, const T* addend, const T* saved, T* before, T* out,
                     T alpha, T beta, int function, int batch, int height, int width, int out_height, int out_width,
                     int top, int left) {
    const Epilogue epilogue{bias, addend, saved, before, out, {function, alpha, beta}};
    const long long size = (long long)batch * out_height * out_width * OUT_CHANNELS;
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) {
        const Cell at(i, out_height, out_width, OUT_CHANNELS);
        const T sum = result_at(x, weight, at, height, width, top, left);
#if NOT_PLAIN  // a variant of its own, as its registers leave a multiprocessor fewer threads
        epilogue.finish<1>({sum}, i, at.channel);
#else
        out[i] = epilogue.plain(sum, i, at.channel);
#endif
    }
}

// Gradient of the weight: a block sums a part of the pixels for one tap and a chunk of channels; sum_rows adds the parts.
extern "C" __global__ void __launch_bounds__(256)
    conv2d_depthwise_weight(const T* grad, const T* x, T* sums, int part_pixels, int batch, int height, int width,
                            int out_height, int out_width, int top, int left) {
    const int tap = blockIdx.y, k = blockIdx.z * blockDim.x + threadIdx.x;
    if (k >= RESULTS) return;
    const int dh = tap / KERNEL_W * DILATION_H - top, dw = tap % KERNEL_W * DILATION_W - left;
    const long long pixels = (long long)batch * out_height * out_width, first = (long long)blockIdx.x * part_pixels;
    const long long last = first + part_pixels < pixels ? first + part_pixels : pixels;
    T sum = 0;
    for (long long pixel = first; pixel < last; ++pixel) {
        const Cell at(pixel, out_height, out_width, 1);
        const int h = at.row * STRIDE_H + dh, w = at.column * STRIDE_W + dw;
        if (!inside(h, height) || !inside(w, width)) continue;
        sum += grad[pixel * RESULTS + k] * x[((at.image * height + h) * width + w) * CHANNELS + k / MULTIPLIER];
    }
    sums[((long long)blockIdx.x * (KERNEL_H * KERNEL_W) + tap) * RESULTS + k] = sum;
}
