// Convolution and the gradient of its input in the type of the arrays, by fused multiply-adds: for strict precision and
// float64. An implicit product of matrices as in conv2d_gather.cu, with the weight read as it is.
using T = ELEMENT;
#include "taps.cuh"
#include "exact.cuh"
#include "plain_tile.cuh"
#include "epilogue.cuh"

struct Maps {
    const T *x, *weight;
    int height, width, out_height, out_width, group, column0;
};

// The results of a block: TILE of one phase, from place0 on, over all images.
struct Results {
    Axis rows, columns;
    int per_image;
    long long places, place0;

    // Finds the place (p, q) in image n of a row of the tile, and tells whether there is such a result.
    __device__ inline bool find(int row, long long& n, int& p, int& q) const {
        n = (place0 + row) / per_image;
        const int in_image = (int)(place0 + row - n * per_image);
        p = in_image / columns.places;
        q = in_image - p * columns.places;
        return place0 + row < places;
    }
    // Where the channels of its pixel begin.
    __device__ inline long long out_place(long long n, int p, int q, const Maps& maps) const {
        const int h = rows.out_first + p * rows.out_step, w = columns.out_first + q * columns.out_step;
        return ((n * maps.out_height + h) * maps.out_width + w) * (GROUPS * COLUMNS);
    }
};

// Loads STEP of the depth from depth0 on: this thread that of number k, for rows row, row + 16, ... of both tiles.
__device__ inline void load_tiles(Tiles& tiles, int depth0, int depths, const Results& results, const Maps& maps) {
    const Axis &rows = results.rows, &columns = results.columns;
    const int k = threadIdx.x % STEP, depth = depth0 + k, tap = depth / CHANNELS, c = depth % CHANNELS;
    const int i = columns.taps ? tap / columns.taps : 0, j = tap - i * columns.taps;
    const int r = rows.first + i * rows.weight_step, s = columns.first + j * columns.weight_step;
    for (int m = threadIdx.x / STEP; m < TILE; m += THREADS / STEP) {
        long long n;
        int p, q;
        const bool exists = results.find(m, n, p, q);
        const int h = p * rows.step + rows.origin + i * rows.tap_step;
        const int w = q * columns.step + columns.origin + j * columns.tap_step;
        const bool valid = exists && depth < depths && inside(h, maps.height) && inside(w, maps.width);
        const long long cell = (n * maps.height + h) * maps.width + w;
        tiles.a[k][m] = valid ? maps.x[cell * (GROUPS * CHANNELS) + maps.group * CHANNELS + c] : 0;
        const int column = maps.column0 + m;
#if BACKWARD
        const long long from =
            ((long long)(r * KERNEL_W + s) * COLUMNS + column) * (GROUPS * CHANNELS) + maps.group * CHANNELS + c;
#else
        const long long from =
            ((long long)(r * KERNEL_W + s) * CHANNELS + c) * (GROUPS * COLUMNS) + maps.group * COLUMNS + column;
#endif
        tiles.b[k][m] = depth < depths && column < COLUMNS ? maps.weight[from] : 0;
    }
}

// Stores what is finite where nothing else becomes of it; returns bits of the other results. See store_tile.cuh.
__device__ inline unsigned store_plain(const T (&acc)[4][4], int row0, int first, const Epilogue& epilogue,
                                       const Results& results, const Maps& maps) {
    const bool plain = epilogue.is_plain();
    unsigned open = 0;
#pragma unroll
    for (int m = 0; m < 4; ++m) {
        long long n;
        int p, q;
        if (!results.find(row0 + m, n, p, q)) continue;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (first + i >= COLUMNS) continue;
            const int channel = maps.group * COLUMNS + first + i;
            const long long place = results.out_place(n, p, q, maps) + channel;
            if (!plain || not_finite(acc[m][i]))
                open |= 1u << (m * 4 + i);
            else
                epilogue.out[place] = epilogue.plain(acc[m][i], place, channel);
        }
    }
    return open;
}

extern "C" __global__ void __launch_bounds__(256, 2)
    conv2d_plain(const T* x, const T* weight, const T* bias, const T* addend, const T* saved, T* before, T* out,
                 T alpha, T beta, int function, int batch, int height, int width, int out_height, int out_width,
                 int top, int left) {
    __shared__ Tiles tiles;
    const int phases = BACKWARD ? STRIDE_H * STRIDE_W : 1;
    const int group = blockIdx.z / phases, phase = blockIdx.z % phases, column0 = blockIdx.y * TILE;
    const Maps maps{x, weight, height, width, out_height, out_width, group, column0};
    const Axis rows = axis_of<KERNEL_H, STRIDE_H, DILATION_H>(phase / (BACKWARD ? STRIDE_W : 1), top, out_height);
    const Axis columns = axis_of<KERNEL_W, STRIDE_W, DILATION_W>(phase % (BACKWARD ? STRIDE_W : 1), left, out_width);
    const int per_image = rows.places * columns.places, depths = rows.taps * columns.taps * CHANNELS;
    const Results results{rows, columns, per_image, (long long)batch * per_image, (long long)blockIdx.x * TILE};
    if (results.place0 >= results.places) return;  // a phase with fewer results than the first

    T acc[4][4] = {};
    for (int depth0 = 0; depth0 < depths; depth0 += STEP) {
        load_tiles(tiles, depth0, depths, results, maps);
        __syncthreads();
        multiply_tiles(acc, tiles);
        __syncthreads();
    }

    const int row0 = threadIdx.x / 16 * 4, first = column0 + threadIdx.x % 16 * 4;
    const Epilogue epilogue{bias, addend, saved, before, out, {function, alpha, beta}};
    const unsigned open = store_plain(acc, row0, first, epilogue, results, maps);
    if (!open) return;
    T sums[16];
#pragma unroll
    for (int e = 0; e < 16; ++e) sums[e] = acc[e / 4][e % 4];
#pragma unroll 1
    for (int e = 0; e < 16; ++e) {
        if (!(open >> e & 1)) continue;
        long long n;
        int p, q;
        results.find(row0 + e / 4, n, p, q);
        auto read = [&](long long cell, int c) {
            return x[(n * height * width + cell) * (GROUPS * CHANNELS) + group * CHANNELS + c];
        };
        const int column = first + e % 4, channel = group * COLUMNS + column;
        if (not_finite(sums[e]))
            sums[e] = exact_result<T>(read, weight, T(0), rows, columns, p, q, height, width, group, column);
        epilogue.finish<1>({sums[e]}, results.out_place(n, p, q, maps) + channel, channel);
    }
}
