// What becomes of a tile of sums: bias, addend, rectifier, and the way to memory.

struct Epilogue {
    const float* bias;    // or null
    const float* addend;  // or null; as `out`
    float* out;
    int rectify;

    __device__ inline float finish(float sum, long long place, int channel) const {
        if (bias) sum += bias[channel];
        if (addend) sum += addend[place];
        return rectify && sum < 0 ? 0 : sum;  // NaN stays
    }
};

// The results of a lane in a warp's tile: of rows lane / 4 and 8 more, in N pairs of columns that begin at `column`.
template <bool PAIRS, int N> struct Columns {
    int column;

    // Calls `use(k, n, i)` for each of the N x 2 columns that exist, or with PAIRS once for two: k columns further on,
    // in sums [n][i] of a row.
    template <class Use> __device__ inline void each(Use use) const {
#pragma unroll
        for (int n = 0; n < N; ++n) {
#pragma unroll
            for (int i = 0; i < 2; i += PAIRS ? 2 : 1)
                if (COLUMNS % TILE_N == 0 || column + n * 8 + i < COLUMNS) use(n * 8 + i, n, i);
        }
    }
    __device__ inline static void load(float (&to)[2], const float* from) {
        if (PAIRS) {
            const float2 two = *(const float2*)from;
            to[0] = two.x;
            to[1] = two.y;
        } else {
            to[0] = *from;
        }
    }
};

// Finishes and stores sums of which all are finite. Each step is a decision for all of them, so a sum takes one
// instruction for each, and a row one address.
template <bool PAIRS, int M, int N, class PlaceOfRow>
__device__ inline void store_finite(float (&acc)[M][N][4], int row0, int column, const Epilogue& epilogue, int channel0,
                                    PlaceOfRow place_of_row) {
    const Columns<PAIRS, N> columns{column};
    const int row = row0 + threadIdx.x % 32 / 4;
    if (epilogue.bias) {
        const float* bias = epilogue.bias + channel0 + column;
        columns.each([&](int k, int n, int i) {
            float add[2];
            columns.load(add, bias + k);
#pragma unroll
            for (int m = 0; m < M; ++m) {
#pragma unroll
                for (int j = 0; j < (PAIRS ? 2 : 1); ++j) {
                    acc[m][n][i + j] += add[j];
                    acc[m][n][i + j + 2] += add[j];
                }
            }
        });
    }
    if (epilogue.addend) {
#pragma unroll
        for (int half = 0; half < M * 2; ++half) {
            const long long place = place_of_row(row + half * 8);
            if (place < 0) continue;
            const float* addend = epilogue.addend + place + column;
            columns.each([&](int k, int n, int i) {
                float add[2];
                columns.load(add, addend + k);
#pragma unroll
                for (int j = 0; j < (PAIRS ? 2 : 1); ++j) acc[half / 2][n][half % 2 * 2 + i + j] += add[j];
            });
        }
    }
    if (epilogue.rectify) {
#pragma unroll
        for (int e = 0; e < M * N * 4; ++e) {
            float& sum = acc[e / (N * 4)][e / 4 % N][e % 4];
            sum = sum < 0 ? 0 : sum;  // NaN stays
        }
    }
#pragma unroll
    for (int half = 0; half < M * 2; ++half) {
        const long long place = place_of_row(row + half * 8);
        if (place < 0) continue;
        float* out = epilogue.out + place + column;
        columns.each([&](int k, int n, int i) {
            const float* sums = &acc[half / 2][n][half % 2 * 2 + i];
            if (PAIRS)
                *(float2*)(out + k) = make_float2(sums[0], sums[1]);  // a quad of lanes fills a sector of 32 bytes
            else
                out[k] = sums[0];
        });
    }
}

// Stores the M x 16 rows by N x 8 columns of a warp. `place_of_row(row)` is where a row's group of channels begins, or
// -1; `exact(row, column)` computes a result anew.
//
// A thread with a sum that is not finite goes another way, sum by sum and from local memory, so that the code stays
// short. Nothing has been stored there before, as the addend may lie in the same place.
template <int M, int N, class PlaceOfRow, class Exact>
__device__ inline void store_tile(float (&acc)[M][N][4], int row0, int column0, const Epilogue& epilogue, int channel0,
                                  PlaceOfRow place_of_row, Exact exact) {
    const int lane = threadIdx.x % 32, column = column0 + lane % 4 * 2;
    float tests[4] = {};  // zeros, or NaN after a sum that is not finite
#pragma unroll
    for (int e = 0; e < M * N * 4; ++e) tests[e % 4] = fmaf(acc[e / (N * 4)][e / 4 % N][e % 4], 0.0f, tests[e % 4]);
    if (__builtin_expect(tests[0] + tests[1] + tests[2] + tests[3] == 0, 1)) {
        if (COLUMNS % 2 == 0 && (unsigned long long)epilogue.out % 8 == 0 && (unsigned long long)epilogue.bias % 8 == 0 &&
            (unsigned long long)epilogue.addend % 8 == 0)
            store_finite<true>(acc, row0, column, epilogue, channel0, place_of_row);
        else
            store_finite<false>(acc, row0, column, epilogue, channel0, place_of_row);
        return;
    }
    float sums[M * N * 4];
#pragma unroll
    for (int e = 0; e < M * N * 4; ++e) sums[e] = acc[e / (N * 4)][e / 4 % N][e % 4];
#pragma unroll 1
    for (int e = 0; e < M * N * 4; ++e) {
        const int row = row0 + e / (N * 4) * 16 + e / 2 % 2 * 8 + lane / 4, own = column + e / 4 % N * 8 + e % 2;
        const long long begin = place_of_row(row);
        if (begin < 0 || own >= COLUMNS) continue;
        const float sum = not_finite(sums[e]) ? exact(row, own) : sums[e];
        epilogue.out[begin + own] = epilogue.finish(sum, begin + own, channel0 + own);
    }
}
