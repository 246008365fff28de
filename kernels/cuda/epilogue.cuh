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
    __device__ inline void store(long long place, int channel, float first, float second, bool both) const {
        first = finish(first, place, channel);
        if (!both) {
            out[place] = first;
            return;
        }
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
// -1; `exact(row, column)` computes a result anew.
template <int M, int N, class PlaceOfRow, class Exact>
__device__ inline void store_tile(const float (&acc)[M][N][4], int row0, int column0, const Epilogue& epilogue,
                                  int channel0, PlaceOfRow place_of_row, Exact exact) {
    const int lane = threadIdx.x % 32;
    bool good = true;
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
                const bool both = column + 1 < COLUMNS;
                epilogue.store(place + column, channel0 + column, first, second, both);
                good = good && !not_finite(first) && !(both && not_finite(second));
            }
        }
    }
    if (good) return;
    // The sums are dead by now, so the registers of this loop are free.
    for (int row = row0 + lane / 4; row < row0 + M * 16; row += 8) {
        const long long place = place_of_row(row);
        if (place < 0) continue;
        for (int column = column0 + lane % 4 * 2; column < column0 + N * 8; column += 8) {
            for (int i = 0; i < 2 && column + i < COLUMNS; ++i)
                epilogue.out[place + column + i] =
                    epilogue.finish(exact(row, column + i), place + column + i, channel0 + column + i);
        }
    }
}
