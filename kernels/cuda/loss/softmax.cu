// Softmax cross-entropy with its gradient; a warp for each row, everything in double. Loss and gradient near zero keep
// their digits: the largest terms of the sum, exp(0), are counted apart from the others, and what is left of 1 - p is a
// sum of small numbers. Logits are few, so neither arithmetic nor memory is much.
using T = ELEMENT;
#include "warps.cuh"
#include "counted.cuh"

// The largest logit, how many there are, the sum of the others' exponentials, and of all distances from the largest.
struct Row {
    double largest, ones, others, shifts;

    __device__ Row(const T* values, int classes, int lane) : largest(values[0]), ones(0), others(0), shifts(0) {
        for (int k = lane; k < classes; k += WARP) largest = values[k] > largest ? values[k] : largest;
        for (int distance = WARP / 2; distance > 0; distance /= 2) {
            const double other = __shfl_xor_sync(ALL, largest, distance);
            largest = other > largest ? other : largest;
        }
        for (int k = lane; k < classes; k += WARP) {
            const double shift = values[k] - largest;
            if (shift == 0)
                ones += 1;
            else
                others += exp(shift);
            shifts += shift;
        }
        ones = sum_over_warp(ones);
        others = sum_over_warp(others);
        shifts = sum_over_warp(shifts);
    }
    __device__ double total() const { return ones + others; }
    __device__ double log_total() const { return log1p((ones - 1) + others); }
};

// Leaves a row out: no gradient, no loss.
__device__ inline void leave_out(T* gradient, double* loss, int classes, int lane) {
    for (int k = lane; k < classes; k += WARP) gradient[k] = 0;
    if (lane == 0) *loss = 0;
}

// Gradient of each row with a class, and its loss in `losses`.
extern "C" __global__ void __launch_bounds__(128)
    softmax_cross_entropy_rows(const T* logits, const int* labels, T* grad, double* losses, const double* weights,
                               const double* total, double plain, long long rows, int classes,
                               double label_smoothing) {
    const long long row = row_of_warp();
    if (row >= rows) return;  // a whole warp
    const Counted counted{weights, total, plain};
    const int lane = threadIdx.x % WARP;
    const double weight = counted.weight(row), divisor = counted.divisor();
    if (weight == 0) return leave_out(grad + row * classes, losses + row, classes, lane);
    const T* values = logits + row * classes;
    const int label = labels[row];
    const Row sums(values, classes, lane);
    const double rest = label_smoothing / classes, kept = 1 - label_smoothing;
    const double label_shift = values[label] - sums.largest;
    for (int k = lane; k < classes; k += WARP) {
        const double e = exp(values[k] - sums.largest);
        const double p = e / sums.total() - rest;
        const double at_label = ((e - sums.ones) - sums.others) / sums.total() + (label_smoothing - rest);
        grad[row * classes + k] = (T)((k == label ? at_label : p) * weight / divisor);
    }
    if (lane == 0) {
        double loss = 0;  // an impossible class that is no target costs nothing
        if (kept != 0) loss -= kept * weight * (label_shift - sums.log_total());
        if (rest != 0) loss -= rest * weight * (sums.shifts - classes * sums.log_total());
        losses[row] = loss;
    }
}

// The same of rows whose targets are rows too, or classes (not null) that have weights.
extern "C" __global__ void __launch_bounds__(128)
    softmax_cross_entropy_targets(const T* logits, const int* labels, const T* targets, const T* channel, T* grad,
                                  double* losses, const double* weights, const double* total, double plain,
                                  long long rows, int classes, double label_smoothing) {
    const long long row = row_of_warp();
    if (row >= rows) return;  // a whole warp
    const Counted counted{weights, total, plain};
    const int lane = threadIdx.x % WARP;
    const double weight = counted.weight(row), divisor = counted.divisor();
    if (weight == 0) return leave_out(grad + row * classes, losses + row, classes, lane);
    const T* values = logits + row * classes;
    const Row sums(values, classes, lane);
    const auto share_of = [=](int k) {
        const double t = labels ? (labels[row] == k ? 1.0 : 0.0) : (double)targets[row * classes + k];
        return ((1 - label_smoothing) * t + label_smoothing / classes) * (channel ? (double)channel[k] : 1.0);
    };
    double loss = 0, shares = 0;
    for (int k = lane; k < classes; k += WARP) {
        const double share = share_of(k);
        shares += share;
        if (share != 0) loss -= weight * share * (values[k] - sums.largest - sums.log_total());
    }
    loss = sum_over_warp(loss);
    shares = sum_over_warp(shares);
    for (int k = lane; k < classes; k += WARP) {
        const double p = exp(values[k] - sums.largest) / sums.total();
        grad[row * classes + k] = (T)((p * shares - share_of(k)) * weight / divisor);
    }
    if (lane == 0) losses[row] = loss;
}
