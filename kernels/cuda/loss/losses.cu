// Losses and their gradients, but for the softmax: over elements, a chunk a block, or over rows, a warp for each; what
// rows count; and the sum of what blocks or rows found. Sums in double, in an order that depends on shapes only.
using T = ELEMENT;
#include "block.cuh"
#include "warps.cuh"
#include "counted.cuh"
#include "formulas.cuh"

constexpr int CHUNK = 4096;

// cost_of(x, t, c) for each element, times what its row counts.
template <class Formula>
__device__ inline void over_elements(const T* x, const T* targets, const T* channel, T* grad, double* losses,
                                     const Counted& counted, long long n, long long row, int channels,
                                     Formula cost_of) {
    __shared__ double shared[256];
    const long long first = blockIdx.x * (long long)CHUNK, stop = first + CHUNK < n ? first + CHUNK : n;
    const double divisor = counted.divisor();
    double total = 0;
    for (long long i = first + threadIdx.x; i < stop; i += blockDim.x) {
        const double weight = counted.weights ? counted.weight(i / row) : 1;
        if (weight == 0) {
            grad[i] = 0;
            continue;
        }
        const Cost found = cost_of(x[i], targets[i], channel ? channel[i % channels] : T(1));
        grad[i] = found.slope * (T)(weight / divisor);
        total += weight * found.cost;
    }
    total = sum_over_block(total, shared);
    if (threadIdx.x == 0) losses[blockIdx.x] = total;
}

#define ELEMENTS(name, found)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256, 4)                                                               \
        name##_elements(const T* x, const T* targets, const T* channel, T* grad, double* losses,                       \
                        const double* weights, const double* total, double plain, long long n, long long row,          \
                        int channels, double parameter) {                                                              \
        const T a = (T)parameter;                                                                                      \
        over_elements(x, targets, channel, grad, losses, Counted{weights, total, plain}, n, row, channels,             \
                      [a](T x, T t, T c) { return found; });                                                           \
    }

ELEMENT_LOSSES(ELEMENTS)

// cost_of(m) and slope_of(m) for the margin of each class but the row's own.
template <class Value, class Slope>
__device__ inline void over_margins(const T* scores, const int* labels, T* grad, double* losses, const Counted& counted,
                                    long long rows, int classes, double margin, Value cost_of, Slope slope_of) {
    const long long row = row_of_warp();
    if (row >= rows) return;  // a whole warp
    const int lane = threadIdx.x % WARP;
    const double weight = counted.weight(row), factor = weight / counted.divisor();
    T* gradient = grad + row * classes;
    if (weight == 0) {
        for (int k = lane; k < classes; k += WARP) gradient[k] = 0;
        if (lane == 0) losses[row] = 0;
        return;
    }
    const T* values = scores + row * classes;
    const int label = labels[row];
    const double own = values[label];
    double costs = 0, slopes = 0;
    for (int k = lane; k < classes; k += WARP) {
        if (k == label) continue;
        const double distance = values[k] - own + margin, m = distance <= 0 ? 0 : distance;
        costs += cost_of(m);
        slopes += slope_of(m);
        gradient[k] = (T)(slope_of(m) * factor);
    }
    costs = sum_over_warp(costs);
    slopes = sum_over_warp(slopes);
    if (lane == 0) {
        gradient[label] = (T)(-slopes * factor);
        losses[row] = weight * costs;
    }
}

#define ROWS(name, cost, slope)                                                                                        \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        name##_rows(const T* scores, const int* labels, T* grad, double* losses, const double* weights,                \
                    const double* total, double plain, long long rows, int classes, double margin) {                   \
        over_margins(                                                                                                  \
            scores, labels, grad, losses, Counted{weights, total, plain}, rows, classes, margin,                       \
            [](double m) { return cost; }, [](double m) { return slope; });                                            \
    }

ROW_LOSSES(ROWS)

// What each row counts, times the weight of its class if `of_classes`; and what to divide by. One block.
extern "C" __global__ void __launch_bounds__(256, 4)
    weigh_rows(const int* labels, const T* channel, const T* sample, double* weights, double* total, long long rows,
               long long ignored, int of_classes, double each) {
    __shared__ double shared[256];
    double all = 0;
    for (long long row = threadIdx.x; row < rows; row += blockDim.x) {
        double weight = sample ? (double)sample[row] : 1;
        if (labels && labels[row] == ignored) weight = 0;
        const double own = labels && channel && weight != 0 ? weight * (double)channel[labels[row]] : weight;
        weights[row] = of_classes ? own : weight;
        all += own;
    }
    all = sum_over_block(all, shared);
    if (threadIdx.x == 0) *total = all * each;
}

// Sum of the losses of rows or blocks, divided. One block; no rows, no loss.
extern "C" __global__ void __launch_bounds__(256, 4)
    sum_losses(const double* losses, T* loss, const double* total, double plain, long long count) {
    __shared__ double shared[256];
    double all = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) all += losses[i];
    all = sum_over_block(all, shared);
    if (threadIdx.x == 0) *loss = (T)(all / Counted{nullptr, total, plain}.divisor());
}
