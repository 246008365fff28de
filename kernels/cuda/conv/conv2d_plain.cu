// Convolution and the gradient of its input in the type of the arrays, by fused multiply-adds: for strict precision and
// float64. An implicit product of matrices as in conv2d_gather.cu, with the weight read as it is.
using T = ELEMENT;
#include "taps.cuh"
#include "exact.cuh"
#include "plain_tile.cuh"
#include "epilogue.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_plain(const T* x, const T* weight, const T* bias, const T* addend, const T* saved, T* before, T* out,
                 T alpha, T beta, int function, int batch, int height, int width, int out_height, int out_width,
                 int top, int left) {
    __shared__ Tiles tiles;
    const int phases = BACKWARD ? STRIDE_H * STRIDE_W : 1;
    const int group = blockIdx.z / phases, phase = blockIdx.z % phases;
    const Axis rows = axis_of<KERNEL_H, STRIDE_H, DILATION_H>(phase / (BACKWARD ? STRIDE_W : 1), top, out_height);
    const Axis columns = axis_of<KERNEL_W, STRIDE_W, DILATION_W>(phase % (BACKWARD ? STRIDE_W : 1), left, out_width);
    const int per_image = rows.places * columns.places;
    const long long places = (long long)batch * per_image, place0 = (long long)blockIdx.x * TILE;
    if (place0 >= places) return;  // a phase with fewer results than the first
    const int column0 = blockIdx.y * TILE, depths = rows.taps * columns.taps * CHANNELS;

    // This thread loads the depth k of rows row, row + 16, ... of both tiles.
    const int k = threadIdx.x % STEP, row = threadIdx.x / STEP;
    auto pixel_of = [&](long long place, long long& n, int& p, int& q) {
        n = place / per_image;
        const int in_image = (int)(place - n * per_image);
        p = in_image / columns.places;
        q = in_image - p * columns.places;
    };
    T acc[4][4] = {};
    for (int depth0 = 0; depth0 < depths; depth0 += STEP) {
        const int depth = depth0 + k, tap = depth / CHANNELS, c = depth % CHANNELS;
        const int i = columns.taps ? tap / columns.taps : 0, j = tap - i * columns.taps;
        const int r = rows.first + i * rows.weight_step, s = columns.first + j * columns.weight_step;
        for (int m = row; m < TILE; m += THREADS / STEP) {
            long long n;
            int p, q;
            pixel_of(place0 + m, n, p, q);
            const int h = p * rows.step + rows.origin + i * rows.tap_step;
            const int w = q * columns.step + columns.origin + j * columns.tap_step;
            const bool valid = place0 + m < places && depth < depths && inside(h, height) && inside(w, width);
            tiles.a[k][m] = valid ? x[((n * height + h) * width + w) * (GROUPS * CHANNELS) + group * CHANNELS + c] : 0;
            const int column = column0 + m;
#if BACKWARD
            const long long from =
                ((long long)(r * KERNEL_W + s) * COLUMNS + column) * (GROUPS * CHANNELS) + group * CHANNELS + c;
#else
            const long long from =
                ((long long)(r * KERNEL_W + s) * CHANNELS + c) * (GROUPS * COLUMNS) + group * COLUMNS + column;
#endif
            tiles.b[k][m] = depth < depths && column < COLUMNS ? weight[from] : 0;
        }
        __syncthreads();
        multiply_tiles(acc, tiles);
        __syncthreads();
    }

    const int row0 = threadIdx.x / 16 * 4, first = column0 + threadIdx.x % 16 * 4;
    const Epilogue epilogue{bias, addend, saved, before, out, {function, alpha, beta}};
    const bool plain = epilogue.is_plain();
    auto out_place = [&](long long n, int p, int q) {
        const int oh = rows.out_first + p * rows.out_step, ow = columns.out_first + q * columns.out_step;
        return ((n * out_height + oh) * out_width + ow) * (GROUPS * COLUMNS);
    };
    unsigned open = 0;  // bits of results that are not finite, or that more becomes of; see store_tile.cuh
#pragma unroll
    for (int m = 0; m < 4; ++m) {
        if (place0 + row0 + m >= places) continue;
        long long n;
        int p, q;
        pixel_of(place0 + row0 + m, n, p, q);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (first + i >= COLUMNS) continue;
            const int channel = group * COLUMNS + first + i;
            const long long place = out_place(n, p, q) + channel;
            if (!plain || not_finite(acc[m][i]))
                open |= 1u << (m * 4 + i);
            else
                out[place] = epilogue.plain(acc[m][i], place, channel);
        }
    }
    if (!open) return;
    T sums[16];
#pragma unroll
    for (int e = 0; e < 16; ++e) sums[e] = acc[e / 4][e % 4];
#pragma unroll 1
    for (int e = 0; e < 16; ++e) {
        if (!(open >> e & 1)) continue;
        long long n;
        int p, q;
        pixel_of(place0 + row0 + e / 4, n, p, q);
        auto read = [&](long long cell, int c) {
            return x[(n * height * width + cell) * (GROUPS * CHANNELS) + group * CHANNELS + c];
        };
        const int column = first + e % 4, channel = group * COLUMNS + column;
        if (not_finite(sums[e]))
            sums[e] = exact_result<T>(read, weight, T(0), rows, columns, p, q, height, width, group, column);
        epilogue.finish<1>({sums[e]}, out_place(n, p, q) + channel, channel);
    }
}
