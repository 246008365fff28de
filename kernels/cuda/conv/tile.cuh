// Tiles of operands in shared memory, and their product on the tensor cores.
//
// A tile has rows of ROW_BYTES (32, 64 or 128) in pieces of 16. A piece lies at its place exclusive-or the row's key,
// which is the row's number where nothing else is said, so that eight rows at the same place are in different banks: one
// ldmatrix is one wavefront, whatever row it begins at. That holds for copies too, where eight lanes write one row.
//
// Places are bytes from the beginning of the block's memory. A tile begins at a multiple of ROW_BYTES, so the place of
// piece p ^ q is that of p with its bits exclusive-or q * 16: steps along a row take one instruction.
constexpr int PIECES = ROW_BYTES / 16;
constexpr int LINE_ROWS = 8 / PIECES;          // rows in 128 bytes
constexpr int DEPTH = ROW_BYTES / sizeof(E);   // elements of a row

__device__ inline int place_of(int row, int piece, int key) {
    return row * ROW_BYTES + (piece ^ (key / LINE_ROWS % PIECES)) * 16;
}
__device__ inline int place_of(int row, int piece) {
    return place_of(row, piece, row);
}
__device__ inline E* element_of(char* tile, int row, int k) {
    return (E*)(tile + place_of(row, k / VECTOR)) + k % VECTOR;
}

// Shares the copies of a tile among the threads: thread t takes piece t % PIECES of its first row, t / PIECES, and of
// those that lie `row` further on. With at least 8 rows between them, all of a thread's pieces have one place in their
// rows, and their addresses differ by what the compiler knows. `copy(row, look(row))` is called for each; four looks come
// first, as every change from reading shared memory to copying costs three empty instructions.
template <int ROWS, int THREADS, class Look, class Copy> __device__ inline void share_rows(Look look, Copy copy) {
    constexpr int STEP = THREADS / PIECES;
    static_assert(STEP % 8 == 0, "rows of a thread have the same key");
    const int first = threadIdx.x / PIECES;
    auto exists = [&](int row) { return row + STEP <= ROWS || first + row < ROWS; };
#pragma unroll
    for (int begin = 0; begin < ROWS; begin += STEP * 4) {
        decltype(look(0)) found[4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (exists(begin + i * STEP)) found[i] = look(begin + i * STEP);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (exists(begin + i * STEP)) copy(begin + i * STEP, found[i]);
    }
}

// A thread's share of the tiles of a packed weight, whose columns are LENGTH elements long: ROWS of them, from column0.
template <int ROWS, int THREADS, int LENGTH> struct WeightRows {
    const E* from;  // goes on from one row of depth to the next
    int place, columns;

    __device__ inline WeightRows(const E* packed, int column0) {
        const int row = threadIdx.x / PIECES, piece = threadIdx.x % PIECES;
        from = packed + (long long)(column0 + row) * LENGTH + piece * VECTOR;
        place = place_of(row, piece);
        columns = COLUMNS - column0 - row;
    }
    // One row of depth, of which `rest` elements exist; the others become zeros.
    __device__ inline void copy(char* tile, int rest) const {
        const bool exists = threadIdx.x % PIECES * VECTOR < rest;
        share_rows<ROWS, THREADS>([](int row) { return row; }, [&](int row, int) {
            cp_async_16(tile + place + row * ROW_BYTES, from + (long long)row * LENGTH,
                        exists && (COLUMNS % ROWS == 0 || row < columns));
        });
    }
};

// acc += A B^T over the depth of a row: M x 16 rows of A and N x 8 of B. `a` is the place of this lane's first piece, of
// row lane % 16 and piece lane / 16; the rows of number m lie `rows(m)` bytes further. `b` is the same for B, of row
// lane / 16 * 8 + lane % 8 and piece lane / 8 % 2. N is even: one ldmatrix brings 16 rows of B.
template <int M, int N, class Rows>
__device__ inline void multiply_rows(float (&acc)[M][N][4], const char* memory, int a, Rows rows, int b) {
#pragma unroll
    for (int step = 0; step < ROW_BYTES / 32; ++step) {
        unsigned a_parts[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m) {
            ldmatrix_x4(a_parts[m], memory + (a ^ step * 32) + rows(m));
#if MATH == TF32
            // Rounding here halves the error of letting the hardware cut: 2^-11 of each number instead of 2^-10.
            for (int i = 0; i < 4; ++i) a_parts[m][i] = to_tf32(__uint_as_float(a_parts[m][i]));
#endif
        }
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned b_parts[4];
            ldmatrix_x4(b_parts, memory + (b ^ step * 32) + n * 8 * ROW_BYTES);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                multiply_add(acc[m][n], a_parts[m], b_parts);
                multiply_add(acc[m][n + 1], a_parts[m], b_parts + 2);
            }
        }
    }
}
// The place of a lane's first piece of B, within its tile.
__device__ inline int b_place(int row) {
    const int lane = threadIdx.x % 32;
    return place_of(row + lane / 16 * 8 + lane % 8, lane / 8 % 2);
}
