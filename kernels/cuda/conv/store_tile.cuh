// The way of a tile of sums to memory, through epilogue.cuh.

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

// Finishes and stores sums of which all are finite, where the epilogue is plain. Each step is a decision for all of
// them, so a sum takes one instruction for each, and a row one address.
template <bool PAIRS, int M, int N, class PlaceOfRow>
__device__ inline void store_plain(float (&acc)[M][N][4], int row0, int column, const Epilogue& epilogue, int channel0,
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
    if (epilogue.function.number) {
#pragma unroll
        for (int e = 0; e < M * N * 4; ++e) {
            float& sum = acc[e / (N * 4)][e / 4 % N][e % 4];
            sum = rectified(sum);
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

// Finishes and stores any sums, pair by pair and from local memory, so that the code stays short. What is not finite
// is computed anew: nothing has been stored there before, as the addend may lie in the same place.
template <int M, int N, class PlaceOfRow, class Exact>
__device__ inline void store_pairs(const float (&acc)[M][N][4], int row0, int column, const Epilogue& epilogue,
                                   int channel0, bool aligned, PlaceOfRow place_of_row, Exact exact) {
    float sums[M * 2][N][2];
#pragma unroll
    for (int e = 0; e < M * N * 4; ++e)
        sums[e / (N * 4) * 2 + e / 2 % 2][e / 4 % N][e % 2] = acc[e / (N * 4)][e / 4 % N][e % 4];
#pragma unroll 1
    for (int half = 0; half < M * 2; ++half) {
        const int row = row0 + threadIdx.x % 32 / 4 + half * 8;
        const long long begin = place_of_row(row);
        if (begin < 0) continue;
#pragma unroll 1
        for (int n = 0; n < N && column + n * 8 < COLUMNS; ++n) {
            const int own = column + n * 8, count = own + 1 < COLUMNS ? 2 : 1;
            float (&pair)[2] = sums[half][n];
#pragma unroll 1
            for (int i = 0; i < count; ++i) {
                if (not_finite(pair[i])) pair[i] = exact(row, own + i);
                if (!aligned) epilogue.finish<1>({pair[i]}, begin + own + i, channel0 + own + i);
            }
            if (aligned) epilogue.finish<2>({pair[0], pair[1]}, begin + own, channel0 + own);
        }
    }
}

// Stores the M x 16 rows by N x 8 columns of a warp. `place_of_row(row)` is where a row's group of channels begins, or
// -1; `exact(row, column)` computes a result anew.
template <int M, int N, class PlaceOfRow, class Exact>
__device__ inline void store_tile(float (&acc)[M][N][4], int row0, int column0, const Epilogue& epilogue, int channel0,
                                  PlaceOfRow place_of_row, Exact exact) {
    const int column = column0 + threadIdx.x % 4 * 2;
    auto on_pairs = [](const float* pointer) { return (unsigned long long)pointer % 8 == 0; };
    const bool aligned =
        COLUMNS % 2 == 0 && on_pairs(epilogue.out) && on_pairs(epilogue.bias) && on_pairs(epilogue.addend);
    float tests[4] = {};  // zeros, or NaN after a sum that is not finite
#pragma unroll
    for (int e = 0; e < M * N * 4; ++e) tests[e % 4] = fmaf(acc[e / (N * 4)][e / 4 % N][e % 4], 0.0f, tests[e % 4]);
    const bool finite = tests[0] + tests[1] + tests[2] + tests[3] == 0;
    if (__builtin_expect(!finite || !epilogue.is_plain(), 0))
        store_pairs<M, N>(acc, row0, column, epilogue, channel0,
                          aligned && on_pairs(epilogue.saved) && on_pairs(epilogue.before), place_of_row, exact);
    else if (aligned)
        store_plain<true>(acc, row0, column, epilogue, channel0, place_of_row);
    else
        store_plain<false>(acc, row0, column, epilogue, channel0, place_of_row);
}
