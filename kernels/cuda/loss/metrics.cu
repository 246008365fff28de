// What metrics are made of: counts of right and wrong classes, a warp for each row, and sums of errors, a warp for each
// column. Counts are integers, so the order of the additions is free.
using T = ELEMENT;
#include "warps.cuh"

// Whether class k, of this value, comes before class j: the larger, NaN the largest, the first of equals.
__device__ inline bool comes_before(T value, int k, T other, int j) {
    const bool greater = value > other || (value != value && other == other);
    const bool equal = value == other || (value != value && other != other);
    return greater || (equal && k < j);
}

// Adds the number of rows where fewer than `top` classes come before the label's, and of all rows with a label.
extern "C" __global__ void __launch_bounds__(128)
    count_correct_rows(const T* logits, const int* labels, unsigned long long* out, long long rows, int classes,
                       int top) {
    const long long row = row_of_warp();
    if (row >= rows) return;  // a whole warp
    const int lane = threadIdx.x % WARP, label = labels[row];
    if (label < 0 || label >= classes) return;
    const T* values = logits + row * classes;
    int before = 0;
    for (int k = lane; k < classes; k += WARP) before += comes_before(values[k], k, values[label], label);
    for (int distance = WARP / 2; distance > 0; distance /= 2) before += __shfl_xor_sync(ALL, before, distance);
    if (lane == 0) {
        if (before < top) atomicAdd(out, 1ull);
        atomicAdd(out + 1, 1ull);
    }
}

// Adds the number of rows of each label and first class.
extern "C" __global__ void __launch_bounds__(128)
    count_confusion_rows(const T* logits, const int* labels, unsigned long long* out, long long rows, int classes) {
    const long long row = row_of_warp();
    if (row >= rows) return;  // a whole warp
    const int lane = threadIdx.x % WARP, label = labels[row];
    if (label < 0 || label >= classes) return;
    const T* values = logits + row * classes;
    int best = lane < classes ? lane : 0;
    for (int k = lane + WARP; k < classes; k += WARP)
        if (comes_before(values[k], k, values[best], best)) best = k;
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const int other = __shfl_xor_sync(ALL, best, distance);
        if (comes_before(values[other], other, values[best], best)) best = other;
    }
    if (lane == 0) atomicAdd(out + label * (long long)classes + best, 1ull);
}

// Adds up errors, and the distances of the targets from the first one, in double: out is 7 x columns.
extern "C" __global__ void __launch_bounds__(128)
    sum_error_columns(const T* x, const T* targets, double* out, long long rows, int columns) {
    const long long column = row_of_warp();
    if (column >= columns) return;  // a whole warp
    const int lane = threadIdx.x % WARP;
    const bool begins = out[column] == 0;
    const double first = begins ? (double)targets[column] : out[columns + column];
    double sums[5] = {0, 0, 0, 0, 0};
    for (long long row = lane; row < rows; row += WARP) {
        const double target = targets[row * columns + column];
        const double error = x[row * columns + column] - target, distance = target - first;
        sums[0] += error;
        sums[1] += fabs(error);
        sums[2] += error * error;
        sums[3] += distance;
        sums[4] += distance * distance;
    }
    for (double& sum : sums) sum = sum_over_warp(sum);
    __syncwarp();  // all have read `out`
    if (lane) return;
    out[column] += rows;
    out[columns + column] = first;
    for (int i = 0; i < 5; ++i) out[(2 + i) * (long long)columns + column] += sums[i];
}
