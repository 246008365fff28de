// Convolution of any geometry, and the gradient of its input, on the tensor cores: an implicit product of matrices whose
// rows are pixels of the result, and whose depth runs over taps and channels.
//
// A block computes TILE_M pixels by TILE_N channels of one group and one phase (taps.cuh). The depth goes in rows of
// ROW_BYTES through STAGES buffers that cp.async fills ahead; where a row of pixels lies is kept in shared memory. With
// few channels (FLAT) a row of depth runs on over the taps, element by element, so that 3 channels waste nothing.
// The weight is packed (pack.cu): [group][column][tap][channel], channels padded to 16 bytes, or [tap and channel] flat.
using T = float;  // of sums and results
#include "operand.cuh"
#include "taps.cuh"
#include "exact.cuh"
#include "tile.cuh"
#include "epilogue.cuh"
#include "store_tile.cuh"

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

struct alignas(16) Pixel {
    int h, w;        // of the first tap; far outside if there is no such result
    long long from;  // where the first tap's channels begin, in bytes, whether they lie in the map or not
};
constexpr int NOWHERE = -(1 << 29);

struct Shared {
    Pixel pixels[TILE_M];
    long long places[TILE_M];  // of the results, or -1
};

struct Input {
    const E* x;
    int height, width;
    bool aligned;

    // Tells whether a cell lies in the map that is (dh, dw) from the first tap's.
    __device__ inline bool holds(const Pixel& pixel, int dh, int dw) const {
        return inside(pixel.h + dh, height) && inside(pixel.w + dw, width);
    }
    // To this the pixel's `from` is added.
    __device__ inline const char* at(int dh, int dw, int c) const {
        return (const char*)(x + ((long long)dh * width + dw) * PIXEL_STRIDE + c);
    }
};

// One row of depth: of the tap (dh, dw) from the first one, from channel c0 on.
__device__ inline void load_a(char* tile, const Pixel* pixels, const Input& in, int dh, int dw, int c0) {
    if (in.aligned && GROUP_STRIDE % VECTOR == 0) {
        const int row0 = threadIdx.x / PIECES, piece = threadIdx.x % PIECES, c = c0 + piece * VECTOR;
        const bool within = CHANNELS % DEPTH == 0 || c < CHANNELS;
        const Pixel* own = pixels + row0;
        const char* from = in.at(dh, dw, c);
        char* to = tile + place_of(row0, piece);
        share_rows<TILE_M, THREADS>([&](int row) { return own[row]; }, [&](int row, const Pixel& pixel) {
            cp_async_16(to + row * ROW_BYTES, from + pixel.from, in.holds(pixel, dh, dw) && within);
        });
    } else {
        const char* from = in.at(dh, dw, c0);
#pragma unroll 4
        for (int e = threadIdx.x; e < TILE_M * DEPTH; e += THREADS) {
            const int row = e / DEPTH, k = e % DEPTH;
            const Pixel pixel = pixels[row];
            const bool valid = in.holds(pixel, dh, dw) && c0 + k < CHANNELS;
            copy_element(element_of(tile, row, k), valid ? (const E*)(from + pixel.from) + k : in.x, valid);
        }
    }
}

__device__ inline void load_a_flat(char* tile, const Pixel* pixels, const Input& in, int tap_step_h, int tap_step_w,
                                   int k0) {
    for (int e = threadIdx.x; e < TILE_M * DEPTH; e += THREADS) {
        const int row = e / DEPTH, k = e % DEPTH, flat = k0 + k, tap = flat / CHANNELS, c = flat % CHANNELS;
        const int dh = tap / KERNEL_W * tap_step_h, dw = tap % KERNEL_W * tap_step_w;
        const Pixel pixel = pixels[row];
        const bool valid = in.holds(pixel, dh, dw) && tap < TAPS;
        copy_element(element_of(tile, row, k), valid ? (const E*)(in.at(dh, dw, c) + pixel.from) : in.x, valid);
    }
}

// The results of a block: TILE_M of one phase, from place0 on, over all images.
struct Results {
    int places_across, per_image;
    long long places, place0;

    // Finds the place (p, q) in image n of a row of the tile, and tells whether there is such a result.
    __device__ inline bool find(int row, int& p, int& q, long long& n) const {
        n = (place0 + row) / per_image;
        const int in_image = (int)(place0 + row - n * per_image);
        p = in_image / places_across;
        q = in_image - p * places_across;
        return place0 + row < places;
    }
};

__device__ inline void find_pixels(Shared& shared, const Results& results, const Axis& rows, const Axis& columns,
                                   int group, int height, int width, int out_height, int out_width) {
    for (int row = threadIdx.x; row < TILE_M; row += THREADS) {
        int p, q;
        long long n;
        const bool valid = results.find(row, p, q, n);
        const int h = p * rows.step + rows.origin, w = q * columns.step + columns.origin;
        const int out_h = rows.out_first + p * rows.out_step, out_w = columns.out_first + q * columns.out_step;
        shared.pixels[row] = {valid ? h : NOWHERE, w,
                              (((n * height + h) * width + w) * PIXEL_STRIDE + group * GROUP_STRIDE) * (int)sizeof(E)};
        const long long place = ((n * out_height + out_h) * out_width + out_w) * (GROUPS * COLUMNS) + group * COLUMNS;
        shared.places[row] = valid ? place : -1;
    }
}

// The way through the depth, of which each call fills the next buffer, as long as there is more.
struct Depths {
    WeightRows<TILE_N, THREADS, B_LENGTH> b;
    int count, next = 0, stage = 0;  // rows of depth, the next one, and its buffer
    int i = 0, j = 0, c0 = 0;        // its tap and channel

    __device__ inline Depths(const E* packed, int column0, const Axis& rows, const Axis& columns)
        : b(packed, column0),
          count(FLAT ? (TAPS * CHANNELS + DEPTH - 1) / DEPTH : rows.taps * columns.taps * BLOCKS) {
        b.from += (rows.first * KERNEL_W + columns.first) * PADDED;
    }
    __device__ inline void load(char* memory, const Pixel* pixels, const Input& in, const Axis& rows,
                                const Axis& columns) {
        if (next < count) {
            char* a_tile = memory + stage * (A_BYTES + B_BYTES);
#if FLAT
            load_a_flat(a_tile, pixels, in, rows.tap_step, columns.tap_step, next * DEPTH);
            b.copy(a_tile + A_BYTES, B_LENGTH % DEPTH == 0 ? DEPTH : B_LENGTH - next * DEPTH);
            b.from += DEPTH;
#else
            load_a(a_tile, pixels, in, i * rows.tap_step, j * columns.tap_step, c0);
            b.copy(a_tile + A_BYTES, PADDED % DEPTH == 0 ? DEPTH : PADDED - c0);
            advance(rows, columns);
#endif
            ++next;
            if (++stage == STAGES) stage = 0;
        }
        cp_async_commit();
    }
    __device__ inline void advance(const Axis& rows, const Axis& columns) {
        b.from += DEPTH;
        if ((c0 += DEPTH) < CHANNELS) return;
        b.from += columns.weight_step * PADDED - BLOCKS * DEPTH;
        c0 = 0;
        if (++j < columns.taps) return;
        b.from += (rows.weight_step * KERNEL_W - columns.taps * columns.weight_step) * PADDED;
        j = 0;
        ++i;
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    conv2d_gather(const E* x, const E* packed, const float* weight, const float* bias, const float* addend,
                  const float* saved, float* before, float* out, float alpha, float beta, int function, int batch,
                  int height, int width, int out_height, int out_width, int top, int left) {
    extern __shared__ __align__(128) char memory[];
    __shared__ Shared shared;
    const int phases = BACKWARD ? STRIDE_H * STRIDE_W : 1;
    const int group = blockIdx.z / phases, phase = blockIdx.z % phases, column0 = blockIdx.y * TILE_N;
    const Axis rows = axis_of<KERNEL_H, STRIDE_H, DILATION_H>(phase / (BACKWARD ? STRIDE_W : 1), top, out_height);
    const Axis columns = axis_of<KERNEL_W, STRIDE_W, DILATION_W>(phase % (BACKWARD ? STRIDE_W : 1), left, out_width);
    const int per_image = rows.places * columns.places;
    const Results results{columns.places, per_image, (long long)batch * per_image, (long long)blockIdx.x * TILE_M};
    if (results.place0 >= results.places) return;  // a phase with fewer results than the first
    find_pixels(shared, results, rows, columns, group, height, width, out_height, out_width);
    __syncthreads();

    const Input in{x, height, width, (unsigned long long)x % 16 == 0};
    Depths depths(packed + (long long)group * COLUMNS * B_LENGTH, column0, rows, columns);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp % WARPS_M * M * 16, warp_column = warp / WARPS_M * N * 8;
    const int own_row = place_of(warp_row + lane % 16, lane / 16), own_weight = A_BYTES + b_place(warp_column);
    float acc[M][N][4] = {};
#pragma unroll 1
    for (int depth = 0; depth < STAGES - 1; ++depth) depths.load(memory, shared.pixels, in, rows, columns);
    int stage = 0;
#pragma unroll 1
    for (int depth = 0; depth < depths.count; ++depth) {
        cp_async_wait<STAGES - 2>();
        __syncthreads();  // this buffer has landed for all, and the next to fill has been read by all
        depths.load(memory, shared.pixels, in, rows, columns);
        const int tile = stage * (A_BYTES + B_BYTES);
        multiply_rows<M, N>(acc, memory, tile + own_row, [](int m) { return m * 16 * ROW_BYTES; }, tile + own_weight);
        if (++stage == STAGES) stage = 0;
    }
    cp_async_wait<0>();

    const Epilogue epilogue{bias, addend, saved, before, out, {function, alpha, beta}};
    store_tile<M, N>(
        acc, warp_row, column0 + warp_column, epilogue, group * COLUMNS, [&](int row) { return shared.places[row]; },
        [&](int row, int column) {
            int p, q;
            long long n;
            results.find(row, p, q, n);
            auto read = [&](long long pixel, int c) {
                return to_float(x[(n * height * width + pixel) * PIXEL_STRIDE + group * GROUP_STRIDE + c]);
            };
            return exact_result<float>(read, weight, 0.0f, rows, columns, p, q, height, width, group, column);
        });
}
