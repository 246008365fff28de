// Tiles of operands in shared memory, and their product on the tensor cores.
//
// A tile has rows of ROW_BYTES (32, 64 or 128) in pieces of 16. A piece lies at its place exclusive-or the row's number,
// so that eight rows at the same place are in different banks: one ldmatrix is one wavefront, whatever row it begins
// at. That holds for copies too, where eight lanes write one row.
constexpr int PIECES = ROW_BYTES / 16;
constexpr int LINE_ROWS = 8 / PIECES;          // rows in 128 bytes
constexpr int DEPTH = ROW_BYTES / sizeof(E);   // elements of a row

__device__ inline int place_of(int row, int piece) {
    return row * ROW_BYTES + (piece ^ (row / LINE_ROWS % PIECES)) * 16;
}
__device__ inline E* element_of(char* tile, int row, int k) {
    return (E*)(tile + place_of(row, k / VECTOR)) + k % VECTOR;
}

// acc += A B^T over the depth of a row: M x 16 rows of A, which `row_of` names for this lane, and N x 8 rows of B from
// `b_row` on. N is even: one ldmatrix brings 16 rows of B.
template <int M, int N, class RowOf>
__device__ inline void multiply_rows(float (&acc)[M][N][4], const char* a, RowOf row_of, const char* b, int b_row) {
    const int lane = threadIdx.x % 32;
    int a_rows[M];
    for (int m = 0; m < M; ++m) a_rows[m] = row_of(m);
    const int b_lane = b_row + lane / 16 * 8 + lane % 8;
#pragma unroll
    for (int step = 0; step < ROW_BYTES / 32; ++step) {
        unsigned a_parts[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m) {
            ldmatrix_x4(a_parts[m], a + place_of(a_rows[m], step * 2 + lane / 16));
#if MATH == TF32
            // Rounding here halves the error of letting the hardware cut: 2^-11 of each number instead of 2^-10.
            for (int i = 0; i < 4; ++i) a_parts[m][i] = to_tf32(__uint_as_float(a_parts[m][i]));
#endif
        }
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned b_parts[4];
            ldmatrix_x4(b_parts, b + place_of(b_lane + n * 8, step * 2 + lane / 8 % 2));
#pragma unroll
            for (int m = 0; m < M; ++m) {
                multiply_add(acc[m][n], a_parts[m], b_parts);
                multiply_add(acc[m][n + 1], a_parts[m], b_parts + 2);
            }
        }
    }
}
