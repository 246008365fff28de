// The product of two tiles by fused multiply-adds: TILE rows by TILE columns, STEP deep, 4 x 4 results a thread.
//
// Rows of 4 are read as one vector; the padding of 4 keeps them on 16 bytes. Storing a column then takes two wavefronts
// instead of one, which the 64 products for each number stored outweigh.
constexpr int TILE = 64, STEP = 16, THREADS = 256, PITCH = TILE + 4;

struct alignas(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) Four {
    T lane[4];
};
struct Tiles {
    T a[STEP][PITCH], b[STEP][PITCH];
};

__device__ inline void multiply_tiles(T (&acc)[4][4], const Tiles& tiles) {
    const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll
    for (int k = 0; k < STEP; ++k) {
        const Four a = *(const Four*)&tiles.a[k][row], b = *(const Four*)&tiles.b[k][column];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) acc[i][j] += a.lane[i] * b.lane[j];
        }
    }
}
