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
constexpr int RESIDENT = ROW_TAPS * M * N * 4 >= 64 ? 2 : 4;
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

// Where a strip lies; goes on to the next one by carries.
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
        if (++number < maps.strips_a_row) return;
        number = 0;
        if (++row < maps.out_height) return;
        row = 0;
        ++image;
    }
};

// Copies `count` elements, a vector at a time or one by one; valid(k) elements from `from` on exist.
template <int COUNT> __device__ inline void copy_row_piece(E* to, const E* from, int valid, bool whole, const E* safe) {
    if (whole) {
        cp_async_16(to, valid > 0 ? from : safe, valid > 0);
    } else {
        for (int k = 0; k < COUNT; ++k) copy_element(to + k, k < valid ? from + k : safe, k < valid);
    }
}

__device__ inline void load_strip(E* x_tile, E* grad_tile, const Strip& at, const Maps& maps) {
    const bool exists = at.image < maps.batch;
    const int q0 = at.number * STRIP;
    const bool whole_grad = (unsigned long long)maps.grad % 16 == 0 && GRAD_GROUP % VECTOR == 0;
    for (int e = threadIdx.x; e < STRIP * (TILE_N / VECTOR); e += THREADS) {
        const int j = e / (TILE_N / VECTOR), column = maps.column0 + e % (TILE_N / VECTOR) * VECTOR;
        const bool valid = exists && q0 + j < maps.out_width;
        const long long pixel = (at.image * maps.out_height + at.row) * maps.out_width + q0 + j;
        copy_row_piece<VECTOR>(grad_tile + j * GRAD_PITCH + column - maps.column0,
                               maps.grad + pixel * GRAD_STRIDE + maps.group * GRAD_GROUP + column,
                               valid ? COLUMNS - column : 0, whole_grad, maps.grad);
    }
#if FLAT
    for (int e = threadIdx.x; e < STRIP * TILE_M; e += THREADS) {
        const int j = e / TILE_M, flat = maps.row0 + e % TILE_M, tap = flat / CHANNELS, c = flat % CHANNELS;
        const int h = at.row * STRIDE_H - maps.top + tap / KERNEL_W * DILATION_H;
        const int w = (q0 + j) * STRIDE_W - maps.left + tap % KERNEL_W * DILATION_W;
        const bool valid = exists && flat < ROWS && inside(h, maps.height) && inside(w, maps.width);
        const E* from = maps.x + ((at.image * maps.height + h) * maps.width + w) * PIXEL_STRIDE +
                        maps.group * GROUP_STRIDE + c;
        copy_element(x_tile + j * X_PITCH + e % TILE_M, valid ? from : maps.x, valid);
    }
#else
    const bool whole_x = (unsigned long long)maps.x % 16 == 0 && GROUP_STRIDE % VECTOR == 0;
    const int h = at.row * STRIDE_H - maps.top + maps.tap_h * DILATION_H;
    for (int e = threadIdx.x; e < X_STRIP * (TILE_M / VECTOR); e += THREADS) {
        const int j = e / (TILE_M / VECTOR), c = maps.row0 + e % (TILE_M / VECTOR) * VECTOR;
        const int w = (q0 + j) * STRIDE_W - maps.left + maps.tap_w * DILATION_W;
        const bool valid = exists && inside(h, maps.height) && inside(w, maps.width);
        copy_row_piece<VECTOR>(x_tile + j * X_PITCH + c - maps.row0,
                               maps.x + ((at.image * maps.height + h) * maps.width + w) * PIXEL_STRIDE +
                                   maps.group * GROUP_STRIDE + c,
                               valid ? CHANNELS - c : 0, whole_x, maps.x);
    }
#endif
}

__device__ inline int x_row(int slot) {
    return slot / STRIP * X_ROWS + slot % STRIP;
}

// Fragments of a step of the depth: A is x, rows of it channels; B is the gradient.
#if MATH == TF32
constexpr int STEP = 8;
__device__ inline void load_a_part(unsigned (&a)[4], const E* x_tile, int slot, int channel, int tap) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        a[i] = to_tf32(x_tile[(x_row(slot + t + i / 2 * 4) + tap) * X_PITCH + channel + g + i % 2 * 8]);
}
__device__ inline void load_b_parts(unsigned (&b)[4], const E* grad_tile, int slot, int column) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; ++i)
        b[i] = to_tf32(grad_tile[(slot + t + i % 2 * 4) * GRAD_PITCH + column + g + i / 2 * 8]);
}
#else
constexpr int STEP = 16;
__device__ inline void load_a_part(unsigned (&a)[4], const E* x_tile, int slot, int channel, int tap) {
    const int lane = threadIdx.x % 32;
    const int row = x_row(slot + lane / 16 * 8 + lane % 8) + tap;
    ldmatrix_x4_trans(a, x_tile + row * X_PITCH + channel + lane / 8 % 2 * 8);
}
__device__ inline void load_b_parts(unsigned (&b)[4], const E* grad_tile, int slot, int column) {
    const int lane = threadIdx.x % 32;
    ldmatrix_x4_trans(b, grad_tile + (slot + lane / 8 % 2 * 8 + lane % 8) * GRAD_PITCH + column + lane / 16 * 8);
}
#endif

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
    Strip next((long long)blockIdx.z * steps * STRIPS, maps);
    auto load = [&](int step) {
        E* tile = (E*)memory + step % STAGES * STAGE_ELEMENTS;
        if (step < steps) {
            for (int i = 0; i < STRIPS; ++i) {
                load_strip(tile + i * X_ROWS * X_PITCH, tile + X_ELEMENTS + i * STRIP * GRAD_PITCH, next, maps);
                next.advance(maps);
            }
        }
        cp_async_commit();
    };
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_row = warp % WARPS_M * M * 16, warp_column = warp / WARPS_M * N * 8;
    float acc[ROW_TAPS][M][N][4] = {};
    for (int step = 0; step < STAGES - 1; ++step) load(step);
    for (int step = 0; step < steps; ++step) {
        cp_async_wait<STAGES - 2>();
        __syncthreads();  // this buffer has landed for all, and the next to fill has been read by all
        load(step + STAGES - 1);
        const E* x_tile = (const E*)memory + step % STAGES * STAGE_ELEMENTS;
#pragma unroll
        for (int slot = 0; slot < PIXELS; slot += STEP) {
            unsigned b[N / 2][4];
#pragma unroll
            for (int n = 0; n < N; n += 2) load_b_parts(b[n / 2], x_tile + X_ELEMENTS, slot, warp_column + n * 8);
#pragma unroll
            for (int tap = 0; tap < ROW_TAPS; ++tap) {
#pragma unroll
                for (int m = 0; m < M; ++m) {
                    unsigned a[4];
                    load_a_part(a, x_tile, slot, warp_row + m * 16, tap);
#pragma unroll
                    for (int n = 0; n < N; ++n) multiply_add(acc[tap][m][n], a, b[n / 2] + n % 2 * 2);
                }
            }
        }
    }
    cp_async_wait<0>();

    float* mine = sums + (long long)blockIdx.z * (KERNEL_H * KERNEL_W * CHANNELS) * (GROUPS * COLUMNS);
#pragma unroll
    for (int tap = 0; tap < ROW_TAPS; ++tap) {
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int n = 0; n < N; ++n) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int row = maps.row0 + warp_row + m * 16 + lane / 4 + half * 8;
                    const int column = maps.column0 + warp_column + n * 8 + lane % 4 * 2;
                    if (row >= ROWS || column >= COLUMNS) continue;
                    const long long line = FLAT ? row : (long long)(tap_h * KERNEL_W + tap_w + tap) * CHANNELS + row;
                    float* to = mine + line * (GROUPS * COLUMNS) + group * COLUMNS + column;
                    const float first = acc[tap][m][n][half * 2], second = acc[tap][m][n][half * 2 + 1];
                    if (COLUMNS % 2 == 0) {
                        *(float2*)to = make_float2(first, second);  // the parts begin on 16 bytes
                    } else {
                        to[0] = first;
                        if (column + 1 < COLUMNS) to[1] = second;
                    }
                }
            }
        }
    }
}
