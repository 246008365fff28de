// Convolution with stride 1 and several taps, and the gradient of its input, on the tensor cores: a patch of the map is
// kept in shared memory with its margin, and each tap reads it shifted, so that a cell is fetched once and not once a
// tap.
//
// A block computes TILE_IMAGES x TILE_H x TILE_W pixels by TILE_N channels of one group. For DEPTH channels at a time it
// holds the patch (two of them in turn, where there are more channels) and goes over the taps, whose weights come
// through STAGES buffers. Where the patch's cells lie, in the map and in shared memory, is worked out once (CELLS of
// them). PITCH is the patch's width in shared memory. The key of a row (tile.cuh) is the pixel's number in a map that is
// TILE_W wide: so eight neighbouring pixels have eight keys whether they lie in one line or in two, and the rows of a
// warp have one key every 16 pixels.
// The weight is packed as for conv2d_gather.cu.
using T = float;  // of sums and results
#include "operand.cuh"
#include "taps.cuh"
#include "exact.cuh"
#include "tile.cuh"
#include "epilogue.cuh"
#include "store_tile.cuh"

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
constexpr int CELLS = TILE_IMAGES * PATCH_H * PATCH_W;
constexpr int PATCH_BYTES = TILE_IMAGES * PATCH_H * PITCH * ROW_BYTES, B_BYTES = TILE_N * ROW_BYTES;
constexpr int PATCHES = BLOCKS > 1 ? 2 : 1;
constexpr int GROUP_STRIDE = PADDED_INPUT ? PADDED : CHANNELS;
constexpr int PIXEL_STRIDE = GROUPS * GROUP_STRIDE;
static_assert(TAPS >= STAGES - 1, "a patch must have been read before the one after the next is fetched");
static_assert(TILE_W >= 8 || PITCH % LINE_ROWS == 0, "two lines of four pixels lie in eight groups of banks");

struct alignas(16) Cell {
    long long from;  // where its channels begin in the map, in bytes
    int place;       // of its first piece in a patch
    int exists;
};

// The row of a pixel of the tile for the patch's first tap. It is that of the pixel's last bits and of its first ones
// together, wherever they are parted at a multiple of 16.
__device__ constexpr int patch_row(int slot) {
    return (slot / (TILE_H * TILE_W) * PATCH_H + slot / TILE_W % TILE_H) * PITCH + slot % TILE_W;
}

__device__ inline void find_cells(Cell* cells, int image0, int h0, int w0, int batch, int height, int width, int group) {
    for (int e = threadIdx.x; e < CELLS; e += THREADS) {
        const int image = e / (PATCH_H * PATCH_W), line = e / PATCH_W % PATCH_H, column = e % PATCH_W;
        const int n = image0 + image, h = h0 + line, w = w0 + column;
        const bool valid = n < batch && inside(h, height) && inside(w, width);
        const long long pixel = ((long long)n * height + h) * width + w;
        cells[e] = {(pixel * PIXEL_STRIDE + group * GROUP_STRIDE) * (int)sizeof(E),
                    place_of((image * PATCH_H + line) * PITCH + column, 0, line * TILE_W + column), valid};
    }
}

__device__ inline void load_patch(char* patch, const Cell* cells, const E* x, bool aligned, int c0) {
    const char* from = (const char*)(x + c0);
    if (aligned) {
        const int piece = threadIdx.x % PIECES * 16;
        const bool within = CHANNELS % DEPTH == 0 || c0 + piece / (int)sizeof(E) < CHANNELS;
        const Cell* own = cells + threadIdx.x / PIECES;
        share_rows<CELLS, THREADS>([&](int row) { return own[row]; }, [&](int, const Cell& cell) {
            cp_async_16(patch + (cell.place ^ piece), from + piece + cell.from, cell.exists && within);
        });
    } else {
#pragma unroll 1
        for (int e = threadIdx.x; e < CELLS * DEPTH; e += THREADS) {
            const Cell& cell = cells[e / DEPTH];
            const int k = e % DEPTH;
            const bool valid = cell.exists && c0 + k < CHANNELS;
            copy_element((E*)(patch + (cell.place ^ k / VECTOR * 16)) + k % VECTOR,
                         valid ? (const E*)(from + cell.from) + k : x, valid);
        }
    }
}

// The way through blocks of channels and, in each, through the taps: each call fills the buffer of the next weights,
// and with the first tap of a block its patch.
struct Depths {
    static constexpr int WEIGHTS = PATCHES * PATCH_BYTES;  // where they begin
    WeightRows<TILE_N, THREADS, B_LENGTH> b;
    int block = 0, tap = 0, stage = 0;

    __device__ inline void load(char* memory, const Cell* cells, const E* x, bool aligned) {
        if (block < BLOCKS) {
            const int c0 = block * DEPTH;
            if (tap == 0) load_patch(memory + block % PATCHES * PATCH_BYTES, cells, x, aligned, c0);
            b.copy(memory + WEIGHTS + stage * B_BYTES, PADDED % DEPTH == 0 ? DEPTH : PADDED - c0);
            b.from += PADDED;
            if (++tap == TAPS) {
                b.from += DEPTH - TAPS * PADDED;
                tap = 0;
                ++block;
            }
            if (++stage == STAGES) stage = 0;
        }
        cp_async_commit();
    }
};

// Where the tile of a block lies.
struct Place {
    int image0, p0, q0;

    __device__ inline Place(int out_height, int out_width) {
        const int across = (out_width + TILE_W - 1) / TILE_W, down = (out_height + TILE_H - 1) / TILE_H;
        q0 = blockIdx.x % across * TILE_W;
        p0 = blockIdx.x / across % down * TILE_H;
        image0 = blockIdx.x / across / down * TILE_IMAGES;
    }
    __device__ inline void find(int slot, int& n, int& p, int& q) const {
        n = image0 + slot / (TILE_H * TILE_W);
        p = p0 + slot / TILE_W % TILE_H;
        q = q0 + slot % TILE_W;
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    conv2d_halo(const E* x, const E* packed, const float* weight, const float* bias, const float* addend,
                const float* saved, float* before, float* out, float alpha, float beta, int function, int batch,
                int height, int width, int out_height, int out_width, int top, int left) {
    extern __shared__ __align__(128) char memory[];
    __shared__ Cell cells[CELLS];
    const int group = blockIdx.z, column0 = blockIdx.y * TILE_N;
    const Axis rows = axis_of<KERNEL_H, 1, 1>(0, top, out_height);
    const Axis columns = axis_of<KERNEL_W, 1, 1>(0, left, out_width);
    const Place tile(out_height, out_width);
    // The first cell of the patch: with BACKWARD the taps go towards smaller cells.
    find_cells(cells, tile.image0, tile.p0 + rows.origin - (BACKWARD ? KERNEL_H - 1 : 0),
               tile.q0 + columns.origin - (BACKWARD ? KERNEL_W - 1 : 0), batch, height, width, group);
    __syncthreads();

    const bool aligned = (unsigned long long)x % 16 == 0;
    Depths depths{{packed + (long long)group * COLUMNS * B_LENGTH, column0}};
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp % WARPS_M * M * 16, warp_column = warp / WARPS_M * N * 8;
    const int own = warp_row + lane % 16, own_row = patch_row(own), own_weight = Depths::WEIGHTS + b_place(warp_column);
    float acc[M][N][4] = {};
#pragma unroll 1
    for (int depth = 0; depth < STAGES - 1; ++depth) depths.load(memory, cells, x, aligned);
    int stage = 0;
#pragma unroll 1
    for (int block = 0; block < BLOCKS; ++block) {
        const int patch = block % PATCHES * PATCH_BYTES;
#pragma unroll 1
        for (int tap = 0; tap < TAPS; ++tap) {
            cp_async_wait<STAGES - 2>();
            __syncthreads();  // weights and patch have landed for all, and what is filled next has been read by all
            depths.load(memory, cells, x, aligned);
            const int i = BACKWARD ? KERNEL_H - 1 - tap / KERNEL_W : tap / KERNEL_W;
            const int j = BACKWARD ? KERNEL_W - 1 - tap % KERNEL_W : tap % KERNEL_W;
            multiply_rows<M, N>(acc, memory,
                                patch + place_of(own_row + i * PITCH + j, lane / 16, own + i * TILE_W + j),
                                [](int m) { return patch_row(m * 16) * ROW_BYTES; }, own_weight + stage * B_BYTES);
            if (++stage == STAGES) stage = 0;
        }
    }
    cp_async_wait<0>();

    const Epilogue epilogue{bias, addend, saved, before, out, {function, alpha, beta}};
    store_tile<M, N>(
        acc, warp_row, column0 + warp_column, epilogue, group * COLUMNS,
        [&](int slot) {
            int n, p, q;
            tile.find(slot, n, p, q);
            if (n >= batch || p >= out_height || q >= out_width) return -1ll;
            return (((long long)n * out_height + p) * out_width + q) * (GROUPS * COLUMNS) + group * COLUMNS;
        },
        [&](int slot, int column) {
            int n, p, q;
            tile.find(slot, n, p, q);
            const E* image = x + (long long)n * height * width * PIXEL_STRIDE + group * GROUP_STRIDE;
            auto read = [&](long long pixel, int c) { return to_float(image[pixel * PIXEL_STRIDE + c]); };
            return exact_result<float>(read, weight, 0.0f, rows, columns, p, q, height, width, group, column);
        });
}
