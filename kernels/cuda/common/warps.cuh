// A warp for each row, of blocks of several.
constexpr unsigned ALL = 0xffffffff;
constexpr int WARP = 32;

__device__ inline double sum_over_warp(double value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(ALL, value, distance);
    return value;
}

__device__ inline long long row_of_warp() {
    return blockIdx.x * (long long)(blockDim.x / WARP) + threadIdx.x / WARP;
}
