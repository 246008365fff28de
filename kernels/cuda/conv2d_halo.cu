// Convolution with stride 1 and several taps, and the gradient of its input, on the tensor cores: a patch of the map is
// kept in shared memory with its margin, and each tap reads it shifted, so that a cell is fetched once and not once a
// tap.
//
// A block computes TILE_IMAGES x TILE_H x TILE_W pixels by TILE_N channels of one group. For DEPTH channels at a time it
// holds the patch (two of them in turn, where there are more channels) and goes over the taps, whose weights come
// through STAGES buffers. PITCH is the patch's width in shared memory: eight neighbouring pixels of a tile must lie in
// eight rows that differ in their last three bits, so with tiles 4 wide it is 4 more than a multiple of 8.
// The weight is packed as for conv2d_gather.cu.
#include "operand.cuh"
#include "taps.cuh"
#include "exact.cuh"
#include "tile.cuh"
#include "epilogue.cuh"

constexpr int TILE_M = TILE_IMAGES * TILE_H * TILE_W;
constexpr int THREADS = WARPS_M * WARPS_N * 32;
constexpr int M = TILE_M / WARPS_M / 16, N = TILE_N / WARPS_N / 8;
// Blocks of a multiprocessor, for ptxas; see conv2d_gather.cu.
constexpr int RESIDENT = M * N * 4 >= 128 ? 2 : M * N * 4 >= 64 ? 3 : 4;
constexpr int TAPS = KERNEL_H * KERNEL_W;
constexpr int PADDED = (CHANNELS + VECTOR - 1) / VECTOR * VECTOR;
constexpr int B_LENGTH = TAPS * PADDED;
constexpr int BLOCKS = (CHANNELS + DEPTH - 1) / DEPTH;
constexpr int PATCH_H = TILE_H + KERNEL_H - 1, PATCH_W = TILE_W + KERNEL_W - 1;
constexpr int PATCH_ROWS = TILE_IMAGES * PATCH_H * PITCH;
constexpr int PATCH_BYTES = PATCH_ROWS * ROW_BYTES, B_BYTES = TILE_N * ROW_BYTES;
constexpr int PATCHES = BLOCKS > 1 ? 2 : 1;
constexpr int GROUP_STRIDE = PADDED_INPUT ? PADDED : CHANNELS;
constexpr int PIXEL_STRIDE = GROUPS * GROUP_STRIDE;
static_assert(TAPS >= STAGES - 1, "a patch must have been read before the one after the next is fetched");

struct Patch {
    const E* x;
    int batch, height, width, image, h, w, group;
    bool aligned;
};

__device__ inline void load_patch(char* patch, const Patch& in, int c0) {
    constexpr int COPIES = PATCH_ROWS * PIECES;
    for (int e = threadIdx.x; e < COPIES; e += THREADS) {
        const int row = e / PIECES, piece = e % PIECES, c = c0 + piece * VECTOR;
        const int image = row / (PATCH_H * PITCH), line = row / PITCH % PATCH_H, column = row % PITCH;
        const int n = in.image + image, h = in.h + line, w = in.w + column;
        const bool valid = column < PATCH_W && n < in.batch && inside(h, in.height) && inside(w, in.width) &&
                           c < CHANNELS;
        const long long pixel = ((long long)n * in.height + h) * in.width + w;
        const E* from = valid ? in.x + pixel * PIXEL_STRIDE + in.group * GROUP_STRIDE + c : in.x;
        char* to = patch + place_of(row, piece);
        if (in.aligned) {
            cp_async_16(to, from, valid);
        } else {
            for (int k = 0; k < VECTOR; ++k) copy_element((E*)to + k, valid ? from + k : from, valid);
        }
    }
}

__device__ inline void load_weights(char* tile, const E* b, int column0, int offset, int rest) {
    for (int e = threadIdx.x; e < TILE_N * PIECES; e += THREADS) {
        const int row = e / PIECES, k = e % PIECES * VECTOR, column = column0 + row;
        const bool valid = column < COLUMNS && k < rest;
        cp_async_16(tile + place_of(row, k / VECTOR), valid ? b + (long long)column * B_LENGTH + offset + k : b, valid);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    conv2d_halo(const E* x, const E* packed, const float* weight, const float* bias, const float* addend, float* out,
                int rectify, int batch, int height, int width, int out_height, int out_width, int top, int left) {
    extern __shared__ __align__(128) char memory[];
    const int group = blockIdx.z, column0 = blockIdx.y * TILE_N;
    const Axis rows = axis_of<KERNEL_H, 1, 1>(0, top, out_height);
    const Axis columns = axis_of<KERNEL_W, 1, 1>(0, left, out_width);
    const int across = (out_width + TILE_W - 1) / TILE_W, down = (out_height + TILE_H - 1) / TILE_H;
    const int q0 = blockIdx.x % across * TILE_W, p0 = blockIdx.x / across % down * TILE_H;
    const int image0 = blockIdx.x / across / down * TILE_IMAGES;
    // The first cell of the patch: with BACKWARD the taps go towards smaller cells.
    const int h0 = p0 + rows.origin - (BACKWARD ? KERNEL_H - 1 : 0);
    const int w0 = q0 + columns.origin - (BACKWARD ? KERNEL_W - 1 : 0);
    const Patch in{x, batch, height, width, image0, h0, w0, group, (unsigned long long)x % 16 == 0};

    const E* b = packed + (long long)group * COLUMNS * B_LENGTH;
    char* weights = memory + PATCHES * PATCH_BYTES;
    auto load = [&](int depth) {
        if (depth < BLOCKS * TAPS) {
            const int block = depth / TAPS, tap = depth % TAPS, c0 = block * DEPTH;
            if (tap == 0) load_patch(memory + block % PATCHES * PATCH_BYTES, in, c0);
            load_weights(weights + depth % STAGES * B_BYTES, b, column0, tap * PADDED + c0, PADDED - c0);
        }
        cp_async_commit();
    };

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp % WARPS_M * M * 16, warp_column = warp / WARPS_M * N * 8;
    int patch_rows[M];  // of this lane's pixels, for the patch's first tap
    for (int m = 0; m < M; ++m) {
        const int slot = warp_row + m * 16 + lane % 16;
        const int image = slot / (TILE_H * TILE_W), p = slot / TILE_W % TILE_H, q = slot % TILE_W;
        patch_rows[m] = (image * PATCH_H + p) * PITCH + q;
    }
    float acc[M][N][4] = {};
    for (int depth = 0; depth < STAGES - 1; ++depth) load(depth);
    for (int depth = 0; depth < BLOCKS * TAPS; ++depth) {
        cp_async_wait<STAGES - 2>();
        __syncthreads();  // weights and patch have landed for all, and what is filled next has been read by all
        load(depth + STAGES - 1);
        const int tap = depth % TAPS, i = tap / KERNEL_W, j = tap % KERNEL_W;
        const int shift = (BACKWARD ? KERNEL_H - 1 - i : i) * PITCH + (BACKWARD ? KERNEL_W - 1 - j : j);
        const char* patch = memory + depth / TAPS % PATCHES * PATCH_BYTES;
        multiply_rows<M, N>(acc, patch, [&](int m) { return patch_rows[m] + shift; },
                            weights + depth % STAGES * B_BYTES, warp_column);
    }
    cp_async_wait<0>();

    const Epilogue epilogue{bias, addend, out, rectify};
    auto pixel_of = [&](int slot, int& n, int& p, int& q) {
        n = image0 + slot / (TILE_H * TILE_W);
        p = p0 + slot / TILE_W % TILE_H;
        q = q0 + slot % TILE_W;
        return n < batch && p < out_height && q < out_width;
    };
    store_tile<M, N>(
        acc, warp_row, column0 + warp_column, epilogue, group * COLUMNS,
        [&](int slot) {
            int n, p, q;
            if (!pixel_of(slot, n, p, q)) return -1ll;
            return (((long long)n * out_height + p) * out_width + q) * (GROUPS * COLUMNS) + group * COLUMNS;
        },
        [&](int slot, int column) {
            int n, p, q;
            pixel_of(slot, n, p, q);
            auto read = [&](long long pixel, int c) {
                return to_float(
                    x[((long long)n * height * width + pixel) * PIXEL_STRIDE + group * GROUP_STRIDE + c]);
            };
            return exact_result<float>(read, weight, 0.0f, rows, columns, p, q, height, width, group, column);
        });
}
