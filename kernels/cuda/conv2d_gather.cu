// Convolution of any geometry, and the gradient of its input, on the tensor cores: an implicit product of matrices whose
// rows are pixels of the result, and whose depth runs over taps and channels.
//
// A block computes TILE_M pixels by TILE_N channels of one group and one phase (taps.cuh). The depth goes in rows of
// ROW_BYTES through STAGES buffers that cp.async fills ahead; where a row of pixels lies is kept in shared memory. With
// few channels (FLAT) a row of depth runs on over the taps, element by element, so that 3 channels waste nothing.
// The weight is packed (pack.cu): [group][column][tap][channel], channels padded to 16 bytes, or [tap and channel] flat.
#include "operand.cuh"
#include "taps.cuh"
#include "exact.cuh"
#include "tile.cuh"
#include "epilogue.cuh"

constexpr int THREADS = WARPS_M * WARPS_N * 32;
constexpr int M = TILE_M / WARPS_M / 16, N = TILE_N / WARPS_N / 8;
// Blocks of a multiprocessor: fewer where the sums alone take half of a thread's registers. Without the number ptxas
// stays below the next step of occupancy and spills for it.
constexpr int RESIDENT = M * N * 4 >= 128 ? 2 : M * N * 4 >= 64 ? 3 : 4;
constexpr int TAPS = KERNEL_H * KERNEL_W;
constexpr int PADDED = (CHANNELS + VECTOR - 1) / VECTOR * VECTOR;
constexpr int B_LENGTH = FLAT ? (TAPS * CHANNELS + VECTOR - 1) / VECTOR * VECTOR : TAPS * PADDED;
constexpr int BLOCKS = (CHANNELS + DEPTH - 1) / DEPTH;  // rows of depth for one tap
constexpr int A_BYTES = TILE_M * ROW_BYTES, B_BYTES = TILE_N * ROW_BYTES;
// Channels of a group in memory, and of a pixel: a cast input has them padded.
constexpr int GROUP_STRIDE = PADDED_INPUT ? PADDED : CHANNELS;
constexpr int PIXEL_STRIDE = GROUPS * GROUP_STRIDE;

struct Pixel {
    int h, w;         // of the first tap; far outside if there is no such result
    long long image;  // the image's first pixel
};
constexpr int NOWHERE = -(1 << 29);

struct Shared {
    Pixel pixels[TILE_M];
};

struct Input {
    const E* x;
    int height, width, group;
    bool aligned;

    __device__ inline const E* at(const Pixel& pixel, int h, int w, int c) const {
        return x + (pixel.image + (long long)h * width + w) * PIXEL_STRIDE + group * GROUP_STRIDE + c;
    }
};

// One row of depth: of tap (i, j) from channel c0 on.
__device__ inline void load_a(char* tile, const Pixel* pixels, const Input& in, int dh, int dw, int c0) {
    if (in.aligned && GROUP_STRIDE % VECTOR == 0) {
        for (int e = threadIdx.x; e < TILE_M * PIECES; e += THREADS) {
            const int row = e / PIECES, piece = e % PIECES, c = c0 + piece * VECTOR;
            const int h = pixels[row].h + dh, w = pixels[row].w + dw;
            const bool valid = inside(h, in.height) && inside(w, in.width) && c < CHANNELS;
            cp_async_16(tile + place_of(row, piece), valid ? in.at(pixels[row], h, w, c) : in.x, valid);
        }
    } else {
        for (int e = threadIdx.x; e < TILE_M * DEPTH; e += THREADS) {
            const int row = e / DEPTH, k = e % DEPTH, c = c0 + k;
            const int h = pixels[row].h + dh, w = pixels[row].w + dw;
            const bool valid = inside(h, in.height) && inside(w, in.width) && c < CHANNELS;
            copy_element(element_of(tile, row, k), valid ? in.at(pixels[row], h, w, c) : in.x, valid);
        }
    }
}

__device__ inline void load_a_flat(char* tile, const Pixel* pixels, const Input& in, int tap_step_h, int tap_step_w,
                                   int k0) {
    for (int e = threadIdx.x; e < TILE_M * DEPTH; e += THREADS) {
        const int row = e / DEPTH, k = e % DEPTH, flat = k0 + k, tap = flat / CHANNELS, c = flat % CHANNELS;
        const int h = pixels[row].h + tap / KERNEL_W * tap_step_h, w = pixels[row].w + tap % KERNEL_W * tap_step_w;
        const bool valid = inside(h, in.height) && inside(w, in.width) && tap < TAPS;
        copy_element(element_of(tile, row, k), valid ? in.at(pixels[row], h, w, c) : in.x, valid);
    }
}

// Rows of the packed weight; `b` is this group's first, `offset` where the row of depth begins.
__device__ inline void load_b(char* tile, const E* b, int column0, int offset, int rest) {
    for (int e = threadIdx.x; e < TILE_N * PIECES; e += THREADS) {
        const int row = e / PIECES, k = e % PIECES * VECTOR, column = column0 + row;
        const bool valid = column < COLUMNS && k < rest;
        cp_async_16(tile + place_of(row, k / VECTOR), valid ? b + (long long)column * B_LENGTH + offset + k : b, valid);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    conv2d_gather(const E* x, const E* packed, const float* weight, const float* bias, const float* addend, float* out,
                  int rectify, int batch, int height, int width, int out_height, int out_width, int top, int left) {
    extern __shared__ __align__(128) char memory[];
    __shared__ Shared shared;
    const int phases = BACKWARD ? STRIDE_H * STRIDE_W : 1;
    const int group = blockIdx.z / phases, phase = blockIdx.z % phases;
    const Axis rows = axis_of<KERNEL_H, STRIDE_H, DILATION_H>(phase / (BACKWARD ? STRIDE_W : 1), top, out_height);
    const Axis columns = axis_of<KERNEL_W, STRIDE_W, DILATION_W>(phase % (BACKWARD ? STRIDE_W : 1), left, out_width);
    const long long places = (long long)batch * rows.places * columns.places;
    const long long place0 = (long long)blockIdx.x * TILE_M;
    if (place0 >= places) return;  // a phase with fewer results than the first
    const int column0 = blockIdx.y * TILE_N;

    const int per_image = rows.places * columns.places;
    for (int row = threadIdx.x; row < TILE_M; row += THREADS) {
        const long long place = place0 + row, n = place / per_image;
        const int in_image = (int)(place - n * per_image), p = in_image / columns.places;
        const int q = in_image - p * columns.places;
        const bool valid = place < places;
        shared.pixels[row] = {valid ? p * rows.step + rows.origin : NOWHERE, q * columns.step + columns.origin,
                              valid ? n * height * width : 0};
    }
    __syncthreads();

    const Input in{x, height, width, group, (unsigned long long)x % 16 == 0};
    const E* b = packed + (long long)group * COLUMNS * B_LENGTH;
    const int depths = FLAT ? (TAPS * CHANNELS + DEPTH - 1) / DEPTH : rows.taps * columns.taps * BLOCKS;
    auto load = [&](int depth) {
        char* a_tile = memory + depth % STAGES * (A_BYTES + B_BYTES);
        char* b_tile = a_tile + A_BYTES;
        if (depth < depths) {
#if FLAT
            load_a_flat(a_tile, shared.pixels, in, rows.tap_step, columns.tap_step, depth * DEPTH);
            load_b(b_tile, b, column0, depth * DEPTH, B_LENGTH - depth * DEPTH);
#else
            const int tap = depth / BLOCKS, c0 = depth % BLOCKS * DEPTH;
            const int i = tap / columns.taps, j = tap % columns.taps;
            const int r = rows.first + i * rows.weight_step, s = columns.first + j * columns.weight_step;
            load_a(a_tile, shared.pixels, in, i * rows.tap_step, j * columns.tap_step, c0);
            load_b(b_tile, b, column0, (r * KERNEL_W + s) * PADDED + c0, PADDED - c0);
#endif
        }
        cp_async_commit();
    };

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp % WARPS_M * M * 16, warp_column = warp / WARPS_M * N * 8;
    float acc[M][N][4] = {};
    for (int depth = 0; depth < STAGES - 1; ++depth) load(depth);
    for (int depth = 0; depth < depths; ++depth) {
        cp_async_wait<STAGES - 2>();
        __syncthreads();  // this buffer has landed for all, and the next to fill has been read by all
        load(depth + STAGES - 1);
        const char* a_tile = memory + depth % STAGES * (A_BYTES + B_BYTES);
        multiply_rows<M, N>(acc, a_tile, [&](int m) { return warp_row + m * 16 + lane % 16; }, a_tile + A_BYTES,
                            warp_column);
    }
    cp_async_wait<0>();

    const Epilogue epilogue{bias, addend, out, rectify};
    auto out_pixel = [&](int row, int& p, int& q, long long& n) {
        n = (place0 + row) / per_image;
        const int in_image = (int)(place0 + row - n * per_image);
        p = in_image / columns.places;
        q = in_image - p * columns.places;
        return place0 + row < places;
    };
    store_tile<M, N>(
        acc, warp_row, column0 + warp_column, epilogue, group * COLUMNS,
        [&](int row) {
            int p, q;
            long long n;
            if (!out_pixel(row, p, q, n)) return -1ll;
            const int oh = rows.out_first + p * rows.out_step, ow = columns.out_first + q * columns.out_step;
            return ((n * out_height + oh) * out_width + ow) * (GROUPS * COLUMNS) + group * COLUMNS;
        },
        [&](int row, int column) {
            int p, q;
            long long n;
            out_pixel(row, p, q, n);
            auto read = [&](long long pixel, int c) {
                return to_float(x[(n * height * width + pixel) * PIXEL_STRIDE + group * GROUP_STRIDE + c]);
            };
            return exact_result<float>(read, weight, 0.0f, rows, columns, p, q, height, width, group, column);
        });
}
