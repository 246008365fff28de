// The softmax of rows and its gradient; a warp for each row, sums in double. Bound by memory for few classes, by the
// exponentials, which are computed twice, for many.
using T = ELEMENT;
#include "warps.cuh"

extern "C" __global__ void __launch_bounds__(128, 8) softmax_rows(const T* x, T* out, long long rows, int classes) {
    const long long row = row_of_warp();
    if (row >= rows) return;  // a whole warp
    const int lane = threadIdx.x % WARP;
    const T* values = x + row * classes;
    double largest = values[0], total = 0;
    for (int k = lane; k < classes; k += WARP) largest = values[k] > largest ? values[k] : largest;
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const double other = __shfl_xor_sync(ALL, largest, distance);
        largest = other > largest ? other : largest;
    }
    for (int k = lane; k < classes; k += WARP) total += exp(values[k] - largest);
    total = sum_over_warp(total);
    for (int k = lane; k < classes; k += WARP) out[row * classes + k] = (T)(exp(values[k] - largest) / total);
}

extern "C" __global__ void __launch_bounds__(128, 8)
    softmax_gradient(const T* grad, const T* y, T* out, long long rows, int classes) {
    const long long row = row_of_warp();
    if (row >= rows) return;  // a whole warp
    const int lane = threadIdx.x % WARP;
    const long long first = row * classes;
    double total = 0;
    for (int k = lane; k < classes; k += WARP) total += (double)grad[first + k] * (double)y[first + k];
    total = sum_over_warp(total);
    for (int k = lane; k < classes; k += WARP) {
        out[first + k] = (T)((double)y[first + k] * ((double)grad[first + k] - total));
    }
}
