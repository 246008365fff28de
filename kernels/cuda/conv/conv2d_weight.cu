// Gradient of a convolution's weight on the tensor cores. Rows are input channels, columns results, the depth is pixels.
//
// Pixels come in strips of STRIP places in one row of the gradient's map, PIXELS of them at a time, through STAGES
// buffers. A block computes a TILE_M x TILE_N piece for ROW_TAPS neighbouring taps of one kernel row at once: with
// stride 1 the strip of x that they read is ROW_TAPS - 1 cells longer, and the strip of the gradient is the same, so
// both are read once for three taps. With few channels (FLAT) the rows are (tap, channel), gathered element by element.
// Blocks share the strips out in splits; sum_splits adds the parts in order.
//
// Both operands lie with their pixels one under the other, so fragments are columns. 16-bit ones come by ldmatrix.trans,
// for tf32 there is no such thing and single words are read. Rows are padded by 8 elements: for tf32 a quad's rows are
// 8 banks apart, for 16 bits eight rows begin in eight different groups of banks, and neither has conflicts.
#define BACKWARD 0
#include "operand.cuh"
#include "taps.cuh"

constexpr int THREADS = WARPS_M * WARPS_N * 32;
constexpr int M = TILE_M / WARPS_M / 16, N = TILE_N / WARPS_N / 8;
// Blocks of a multiprocessor, for ptxas; see conv2d_gather.cu.
constexpr int RESIDENT = ROW_TAPS * M * N * 4 >= 64 ? 3 : 4;
constexpr int STRIPS = PIXELS / STRIP, X_STRIP = STRIP + ROW_TAPS - 1;
// Rows of a strip of x in shared memory. Strips of 4 lie 4 rows more than a multiple of 8 apart, so that eight pixels of
// two strips are in eight rows that differ in their last three bits.
constexpr int X_ROWS = STRIP == 4 ? X_STRIP + (12 - X_STRIP % 8) % 8 : X_STRIP;
constexpr int X_PITCH = TILE_M + 8, GRAD_PITCH = TILE_N + 8;
constexpr int X_ELEMENTS = STRIPS * X_ROWS * X_PITCH, STAGE_ELEMENTS = X_ELEMENTS + PIXELS * GRAD_PITCH;
constexpr int PADDED = (CHANNELS + VECTOR - 1) / VECTOR * VECTOR;
constexpr int PADDED_COLUMNS = (COLUMNS + VECTOR - 1) / VECTOR * VECTOR;
constexpr int GROUP_STRIDE = PADDED_INPUT ? PADDED : CHANNELS, PIXEL_STRIDE = GROUPS * GROUP_STRIDE;
constexpr int GRAD_GROUP = PADDED_INPUT ? PADDED_COLUMNS : COLUMNS, GRAD_STRIDE = GROUPS * GRAD_GROUP;
constexpr int ROWS = FLAT ? KERNEL_H * KERNEL_W * CHANNELS : CHANNELS;

struct Maps {
    const E *x, *grad;
    int batch, height, width, out_height, out_width, top, left, strips_a_row;
    int group, tap_h, tap_w, row0, column0;
};

constexpr int NOWHERE = -(1 << 29);

// Where a strip lies; goes on by STRIPS of them. Each lane keeps that of number lane % STRIPS in a step and works out its
// addresses, so that this is done once for all strips; the others ask for them with of_strip.
struct Strip {
    long long image;
    int row, number;
    __device__ inline Strip(long long strip, const Maps& maps) {
        const long long line = strip / maps.strips_a_row;
        number = (int)(strip - line * maps.strips_a_row);
        image = line / maps.out_height;
        row = (int)(line - image * maps.out_height);
    }
    __device__ inline void advance(const Maps& maps) {
        number += STRIPS;
        while (number >= maps.strips_a_row) {
            number -= maps.strips_a_row;
            if (++row < maps.out_height) continue;
            row = 0;
            ++image;
        }
    }
};

template <class T> __device__ inline T of_strip(T mine, int strip) {
    return STRIPS == 1 ? mine : __shfl_sync(~0u, mine, strip % STRIPS);
}

// Copies STRIPS strips of LENGTH rows, which begin APART rows from one another in shared memory: TILE channels of every
// STEP-th cell of a line of `size` cells, from cell `start` on, which lies at `from`. Of the channels `count` exist.
// `whole` says that vectors lie on 16 bytes.
template <int LENGTH, int APART, int STEP, int CELL, int TILE>
__device__ inline void copy_strips(E* tile, const E* array, long long from, int start, int size, int count, bool whole) {
    constexpr int PIECES = TILE / VECTOR, TOGETHER = THREADS / PIECES, COPIES = STRIPS * LENGTH;
    const int piece = threadIdx.x % PIECES * VECTOR;
    // Calls `copy(to, source, valid)` for the threads' rows from `begin` on.
    auto each = [&](int begin, auto copy) {
        const int row = begin + threadIdx.x / PIECES, strip = row / LENGTH, j = row % LENGTH;
        const E* source = array + of_strip(from, strip) + j * (STEP * CELL) + piece;
        const bool valid = inside(of_strip(start, strip) + j * STEP, size);
        if (COPIES % TOGETHER == 0 || row < COPIES) copy(tile + (strip * APART + j) * (TILE + 8) + piece, source, valid);
    };
    if (whole) {
#pragma unroll
        for (int begin = 0; begin < COPIES; begin += TOGETHER)
            each(begin, [&](E* to, const E* source, bool valid) { cp_async_16(to, source, valid && piece < count); });
    } else {
#pragma unroll 1
        for (int begin = 0; begin < COPIES; begin += TOGETHER) {
            each(begin, [&](E* to, const E* source, bool valid) {
                for (int k = 0; k < VECTOR; ++k) {
                    const bool exists = valid && piece + k < count;
                    copy_element(to + k, exists ? source + k : array, exists);
                }
            });
        }
    }
}

__device__ inline void load_strips(E* x_tile, E* grad_tile, const Strip& own, const Maps& maps) {
    const bool exists = own.image < maps.batch;
    const int q0 = own.number * STRIP;
    const long long grad_cell = (own.image * maps.out_height + own.row) * maps.out_width + q0;
    copy_strips<STRIP, STRIP, 1, GRAD_STRIDE, TILE_N>(
        grad_tile, maps.grad, grad_cell * GRAD_STRIDE + maps.group * GRAD_GROUP + maps.column0, exists ? q0 : NOWHERE,
        maps.out_width, COLUMNS - maps.column0, (unsigned long long)maps.grad % 16 == 0 && GRAD_GROUP % VECTOR == 0);
#if FLAT
    for (int i = 0; i < STRIPS; ++i) {
        const long long image = of_strip(own.image, i);
        const int row = of_strip(own.row, i), first = of_strip(q0, i);
        for (int e = threadIdx.x; e < STRIP * TILE_M; e += THREADS) {
            const int j = e / TILE_M, flat = maps.row0 + e % TILE_M, tap = flat / CHANNELS, c = flat % CHANNELS;
            const int h = row * STRIDE_H - maps.top + tap / KERNEL_W * DILATION_H;
            const int w = (first + j) * STRIDE_W - maps.left + tap % KERNEL_W * DILATION_W;
            const bool valid = image < maps.batch && flat < ROWS && inside(h, maps.height) && inside(w, maps.width);
            const E* from = maps.x + ((image * maps.height + h) * maps.width + w) * PIXEL_STRIDE +
                            maps.group * GROUP_STRIDE + c;
            copy_element(x_tile + (i * X_ROWS + j) * X_PITCH + e % TILE_M, valid ? from : maps.x, valid);
        }
    }
#else
    const int h = own.row * STRIDE_H - maps.top + maps.tap_h * DILATION_H;
    const int w = q0 * STRIDE_W - maps.left + maps.tap_w * DILATION_W;
    const long long cell = (own.image * maps.height + h) * maps.width + w;
    copy_strips<X_STRIP, X_ROWS, STRIDE_W, PIXEL_STRIDE, TILE_M>(
        x_tile, maps.x, cell * PIXEL_STRIDE + maps.group * GROUP_STRIDE + maps.row0,
        exists && inside(h, maps.height) ? w : NOWHERE, maps.width, CHANNELS - maps.row0,
        (unsigned long long)maps.x % 16 == 0 && GROUP_STRIDE % VECTOR == 0);
#endif
}

// The row of a pixel of a step in x_tile. It is that of the pixel's last bits and of its first ones together, wherever
// they are parted at a multiple of 4.
__device__ constexpr int x_row(int slot) {
    return slot / STRIP * X_ROWS + slot % STRIP;
}

// Fragments of a step of the depth: A is x, rows of it channels; B is the gradient. A lane reads where a_place() and
// b_place() say, and from there on at distances that the compiler knows.
#if MATH == TF32
constexpr int STEP = 8;
__device__ inline int a_place(int lane) {
    return lane % 4 * X_PITCH + lane / 4;
}
__device__ inline int b_place(int lane) {
    return lane % 4 * GRAD_PITCH + lane / 4;
}
__device__ inline void load_a_part(unsigned (&a)[4], const E* own) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = to_tf32(own[x_row(i / 2 * 4) * X_PITCH + i % 2 * 8]);
}
__device__ inline void load_b_parts(unsigned (&b)[4], const E* own) {
#pragma unroll
    for (int i = 0; i < 4; ++i) b[i] = to_tf32(own[i % 2 * 4 * GRAD_PITCH + i / 2 * 8]);
}
#else
constexpr int STEP = 16;
__device__ inline int a_place(int lane) {
    return x_row(lane / 16 * 8 + lane % 8) * X_PITCH + lane / 8 % 2 * 8;
}
__device__ inline int b_place(int lane) {
    return (lane / 8 % 2 * 8 + lane % 8) * GRAD_PITCH + lane / 16 * 8;
}
__device__ inline void load_a_part(unsigned (&a)[4], const E* own) {
    ldmatrix_x4_trans(a, own);
}
__device__ inline void load_b_parts(unsigned (&b)[4], const E* own) {
    ldmatrix_x4_trans(b, own);
}
#endif

// One step of the depth, PIXELS of it, from where this lane's fragments begin in the two tiles.
__device__ inline void multiply_step(float (&acc)[ROW_TAPS][M][N][4], const E* own_a, const E* own_b) {
#pragma unroll
    for (int slot = 0; slot < PIXELS; slot += STEP) {
        unsigned b[N / 2][4];
#pragma unroll
        for (int n = 0; n < N; n += 2) load_b_parts(b[n / 2], own_b + slot * GRAD_PITCH + n * 8);
#pragma unroll
        for (int tap = 0; tap < ROW_TAPS; ++tap) {
#pragma unroll
            for (int m = 0; m < M; ++m) {
                unsigned a[4];
                load_a_part(a, own_a + (x_row(slot) + tap) * X_PITCH + m * 16);
#pragma unroll
                for (int n = 0; n < N; ++n) multiply_add(acc[tap][m][n], a, b[n / 2] + n % 2 * 2);
            }
        }
    }
}

// Stores the sums of a warp, whose channels and results begin at row0 and column0, into this split's part.
__device__ inline void store_sums(const float (&acc)[ROW_TAPS][M][N][4], float* part, int row0, int column0,
                                  const Maps& maps) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int e = 0; e < ROW_TAPS * M * N * 2; ++e) {
        const int tap = e / (M * N * 2), m = e / (N * 2) % M, n = e / 2 % N, half = e % 2;
        const int row = row0 + m * 16 + lane / 4 + half * 8, column = column0 + n * 8 + lane % 4 * 2;
        if (row >= ROWS || column >= COLUMNS) continue;
        const long long line = FLAT ? row : (long long)(maps.tap_h * KERNEL_W + maps.tap_w + tap) * CHANNELS + row;
        float* to = part + line * (GROUPS * COLUMNS) + maps.group * COLUMNS + column;
        const float first = acc[tap][m][n][half * 2], second = acc[tap][m][n][half * 2 + 1];
        if (COLUMNS % 2 == 0) {
            *(float2*)to = make_float2(first, second);  // the parts begin on 16 bytes
        } else {
            to[0] = first;
            if (column + 1 < COLUMNS) to[1] = second;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    conv2d_weight(const E* grad, const E* x, float* sums, int steps, int batch, int height, int width, int out_height,
                  int out_width, int top, int left) {
    extern __shared__ __align__(128) char memory[];
    constexpr int TAP_BLOCKS = FLAT ? 1 : KERNEL_H * (KERNEL_W / ROW_TAPS);
    constexpr int COLUMN_TILES = (COLUMNS + TILE_N - 1) / TILE_N;
    const int group = blockIdx.y % GROUPS, tap_block = blockIdx.y / GROUPS % TAP_BLOCKS;
    const int tap_h = tap_block / (KERNEL_W / ROW_TAPS), tap_w = tap_block % (KERNEL_W / ROW_TAPS) * ROW_TAPS;
    const Maps maps{x,    grad, batch, height, width, out_height, out_width, top, left, (out_width + STRIP - 1) / STRIP,
                    group, tap_h, tap_w, (int)(blockIdx.x / COLUMN_TILES) * TILE_M,
                    (int)(blockIdx.x % COLUMN_TILES) * TILE_N};
    Strip next((long long)blockIdx.z * steps * STRIPS + threadIdx.x % STRIPS, maps);
    int missing = steps, next_stage = 0;  // steps that are not loaded yet, and the buffer of the next one
    auto load = [&] {
        if (missing > 0) {
            E* tile = (E*)memory + next_stage * STAGE_ELEMENTS;
            load_strips(tile, tile + X_ELEMENTS, next, maps);
            next.advance(maps);
            if (++next_stage == STAGES) next_stage = 0;
            --missing;
        }
        cp_async_commit();
    };
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp % WARPS_M * M * 16, warp_column = warp / WARPS_M * N * 8;
    const int own_x = a_place(lane) + warp_row, own_grad = X_ELEMENTS + b_place(lane) + warp_column;
    float acc[ROW_TAPS][M][N][4] = {};
#pragma unroll 1
    for (int step = 0; step < STAGES - 1; ++step) load();
    int stage = 0;
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
        cp_async_wait<STAGES - 2>();
        __syncthreads();  // this buffer has landed for all, and the next to fill has been read by all
        load();
        const E* tile = (const E*)memory + stage * STAGE_ELEMENTS;
        if (++stage == STAGES) stage = 0;
        multiply_step(acc, tile + own_x, tile + own_grad);
    }
    cp_async_wait<0>();
    float* part = sums + (long long)blockIdx.z * (KERNEL_H * KERNEL_W * CHANNELS) * (GROUPS * COLUMNS);
    store_sums(acc, part, maps.row0 + warp_row, maps.column0 + warp_column, maps);
}
