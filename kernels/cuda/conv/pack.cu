// Weights in the form that conv2d_gather reads, and inputs rounded to 16 bits.
#include "operand.cuh"

constexpr int PADDED = (CHANNELS + VECTOR - 1) / VECTOR * VECTOR;
constexpr int LENGTH = FLAT ? (TAPS * CHANNELS + VECTOR - 1) / VECTOR * VECTOR : TAPS * PADDED;

// From HWIO to [group][column][tap][channel]: what is summed lies together. CHANNELS and COLUMNS are the channels of a
// group that are summed and that result, so for the gradient of the input they have changed places.
extern "C" __global__ void __launch_bounds__(256) pack_weight(const float* weight, E* packed) {
    const long long size = (long long)GROUPS * COLUMNS * LENGTH, step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) {
        const int k = (int)(i % LENGTH), column = (int)(i / LENGTH % COLUMNS), group = (int)(i / LENGTH / COLUMNS);
        const int tap = FLAT ? k / CHANNELS : k / PADDED, c = FLAT ? k % CHANNELS : k % PADDED;
        const bool valid = tap < TAPS && c < CHANNELS;
#if BACKWARD
        const long long from = ((long long)tap * COLUMNS + column) * (GROUPS * CHANNELS) + group * CHANNELS + c;
#else
        const long long from = ((long long)tap * CHANNELS + c) * (GROUPS * COLUMNS) + group * COLUMNS + column;
#endif
        packed[i] = valid ? rounded(weight[from]) : E(0);
    }
}

// Rows of pixels of GROUPS x CHANNELS, rounded, the channels of each group padded to 16 bytes with zeros.
extern "C" __global__ void __launch_bounds__(256) pack_input(const float* x, E* packed, long long pixels) {
    const long long size = pixels * (GROUPS * PADDED), step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) {
        const long long row = i / PADDED;
        const int c = (int)(i % PADDED);
        packed[i] = c < CHANNELS ? rounded(x[row * CHANNELS + c]) : E(0);
    }
}
