// Gradient of a convolution's weight in the type of the arrays, by fused multiply-adds. Rows are (tap, channel) in the
// weight's own order, columns its results, the depth is pixels; blocks share the pixels out in SPLITs of whole steps,
// and sum_splits (conv2d_splits.cu) adds them up in order.
using T = ELEMENT;
#define BACKWARD 0
#include "taps.cuh"
#include "plain_tile.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_weight_plain(const T* grad, const T* x, T* sums, int steps, int batch, int height, int width, int out_height,
                        int out_width, int top, int left) {
    __shared__ Tiles tiles;
    constexpr int ROWS = KERNEL_H * KERNEL_W * CHANNELS;
    const int group = blockIdx.z % GROUPS, split = blockIdx.z / GROUPS;
    const int column_tiles = (COLUMNS + TILE - 1) / TILE;
    const int row0 = blockIdx.x / column_tiles * TILE, column0 = blockIdx.x % column_tiles * TILE;
    const int per_image = out_height * out_width;
    const long long pixels = (long long)batch * per_image;
    // This thread loads row or column `lane` of pixels k, k + 4, ...
    const int lane = threadIdx.x % TILE, flat = row0 + lane, tap = flat / CHANNELS, c = flat % CHANNELS;
    const int dh = tap / KERNEL_W * DILATION_H - top, dw = tap % KERNEL_W * DILATION_W - left;
    T acc[4][4] = {};
    for (int step = 0; step < steps; ++step) {
        const long long pixel0 = ((long long)split * steps + step) * STEP;
        if (pixel0 >= pixels) break;
        for (int k = threadIdx.x / TILE; k < STEP; k += THREADS / TILE) {
            const long long pixel = pixel0 + k, n = pixel / per_image;
            const int in_image = (int)(pixel - n * per_image), p = in_image / out_width, q = in_image - p * out_width;
            const int h = p * STRIDE_H + dh, w = q * STRIDE_W + dw;
            const bool valid = pixel < pixels && flat < ROWS && inside(h, height) && inside(w, width);
            tiles.a[k][lane] =
                valid ? x[((n * height + h) * width + w) * (GROUPS * CHANNELS) + group * CHANNELS + c] : 0;
            tiles.b[k][lane] = pixel < pixels && column0 + lane < COLUMNS
                                   ? grad[pixel * (GROUPS * COLUMNS) + group * COLUMNS + column0 + lane]
                                   : 0;
        }
        __syncthreads();
        multiply_tiles(acc, tiles);
        __syncthreads();
    }
    T* mine = sums + (long long)split * ROWS * (GROUPS * COLUMNS) + group * COLUMNS;
    for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) {
            const int row = row0 + threadIdx.x / 16 * 4 + i, column = column0 + threadIdx.x % 16 * 4 + j;
            if (row < ROWS && column < COLUMNS) mine[(long long)row * (GROUPS * COLUMNS) + column] = acc[i][j];
        }
    }
}
