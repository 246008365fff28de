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
    __device__ inline void store_one(float sum, long long place, int channel) const {
        out[place] = finish(sum, place, channel);
    }
    __device__ inline void store_two(float first, float second, long long place, int channel) const {
        first = finish(first, place, channel);
        second = finish(second, place + 1, channel + 1);
        if ((unsigned long long)(out + place) % 8 == 0) {
            *(float2*)(out + place) = make_float2(first, second);  // a quad of lanes fills a sector of 32 bytes
        } else {
            out[place] = first;
            out[place + 1] = second;
        }
    }
};

// Stores the M x 16 rows by N x 8 columns of a warp. `place_of_row(row)` is where a row's group of channels begins, or
// -1; `exact(row, column)` computes a result anew. That happens last, when the sums are dead and their registers free;
// until then nothing is stored there, as the addend may lie in the same place.
template <int M, int N, class PlaceOfRow, class Exact>
__device__ inline void store_tile(const float (&acc)[M][N][4], int row0, int column0, const Epilogue& epilogue,
                                  int channel0, PlaceOfRow place_of_row, Exact exact) {
    static_assert(N <= 8, "a bit for each result of 16 rows");
    const int lane = threadIdx.x % 32;
    unsigned open[M] = {}, any = 0;  // bits of results that are not finite
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const long long place = place_of_row(row0 + m * 16 + half * 8 + lane / 4);
#pragma unroll
            for (int n = 0; n < N; ++n) {
                const int column = column0 + n * 8 + lane % 4 * 2;
                const float first = acc[m][n][half * 2], second = acc[m][n][half * 2 + 1];
                if (place < 0 || column >= COLUMNS) continue;
                const bool two = column + 1 < COLUMNS, good_first = !not_finite(first);
                const bool good_second = two && !not_finite(second);
                if (good_first && good_second)
                    epilogue.store_two(first, second, place + column, channel0 + column);
                else if (good_first)
                    epilogue.store_one(first, place + column, channel0 + column);
                else if (good_second)
                    epilogue.store_one(second, place + column + 1, channel0 + column + 1);
                open[m] |= (unsigned)(!good_first | (two && !good_second) << 1) << (half * N + n) * 2;
            }
        }
        any |= open[m];
    }
    if (!any) return;
#pragma unroll
    for (int m = 0; m < M; ++m) {
        for (int bit = 0; bit < N * 4; ++bit) {
            if (!(open[m] >> bit & 1)) continue;
            const int row = row0 + m * 16 + bit / (2 * N) * 8 + lane / 4;
            const int column = column0 + bit / 2 % N * 8 + lane % 4 * 2 + bit % 2;
            const long long place = place_of_row(row) + column;
            epilogue.out[place] = epilogue.finish(exact(row, column), place, channel0 + column);
        }
    }
}
