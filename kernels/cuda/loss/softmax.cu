// Softmax cross-entropy with its gradient, and counting right answers; a warp for each row, everything in double. Loss
// and gradient near zero keep their digits: the largest terms of the sum, exp(0), are counted apart from the others,
// and what is left of 1 - p is a sum of small numbers. Logits are few, so neither arithmetic nor memory is much.

using T = ELEMENT;
constexpr unsigned ALL = 0xffffffff;
constexpr int WARP = 32;

__device__ inline double sum_over_warp(double value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(ALL, value, distance);
    return value;
}

__device__ inline long long row_of_warp() {
    return blockIdx.x * (long long)(blockDim.x / WARP) + threadIdx.x / WARP;
}

// Gradient of each row, and its loss in `losses`.
extern "C" __global__ void __launch_bounds__(128)
    softmax_cross_entropy_rows(const T* logits, const int* labels, T* grad, double* losses, long long rows, int classes,
                               double label_smoothing) {
    const long long row = row_of_warp();
    if (row >= rows) return;  // a whole warp
    const int lane = threadIdx.x % WARP, label = labels[row];
    const T* values = logits + row * classes;
    double largest = values[0];
    for (int k = lane; k < classes; k += WARP) largest = values[k] > largest ? values[k] : largest;
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const double other = __shfl_xor_sync(ALL, largest, distance);
        largest = other > largest ? other : largest;
    }
    double ones = 0, others = 0, shifts = 0;
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
    const double total = ones + others, rest = label_smoothing / classes, kept = 1 - label_smoothing;
    const double label_shift = values[label] - largest;
    for (int k = lane; k < classes; k += WARP) {
        const double e = exp(values[k] - largest);
        const double p = e / total - rest;
        const double at_label = ((e - ones) - others) / total + (label_smoothing - rest);
        grad[row * classes + k] = (T)((k == label ? at_label : p) / rows);
    }
    if (lane == 0) {
        const double log_total = log1p((ones - 1) + others);
        double loss = 0;  // an impossible class that is no target costs nothing
        if (kept != 0) loss -= kept * (label_shift - log_total);
        if (rest != 0) loss -= rest * (shifts - classes * log_total);
        losses[row] = loss;
    }
}

// Mean of the losses: one block, thread by thread and then by halves. No rows, no loss.
extern "C" __global__ void __launch_bounds__(256, 4) mean_loss(const double* losses, T* loss, long long rows) {
    __shared__ double shared[256];
    double total = 0;
    for (long long row = threadIdx.x; row < rows; row += blockDim.x) total += losses[row];
    shared[threadIdx.x] = total;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) *loss = rows ? (T)(shared[0] / rows) : T(0);
}

// Adds the number of rows whose largest logit is at the label: NaN is largest, the first of equals wins. Integers, so
// the order of the additions is free.
extern "C" __global__ void __launch_bounds__(128)
    count_correct_rows(const T* logits, const int* labels, unsigned long long* out, long long rows, int classes) {
    const long long row = row_of_warp();
    if (row >= rows) return;  // a whole warp
    const int lane = threadIdx.x % WARP;
    const T* values = logits + row * classes;
    int best = lane < classes ? lane : 0;
    for (int k = lane + WARP; k < classes; k += WARP) {
        const T value = values[k], largest = values[best];
        if (value > largest || (value != value && largest == largest)) best = k;
    }
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const int other = __shfl_xor_sync(ALL, best, distance);
        const T value = values[other], largest = values[best];
        const bool greater = value > largest || (value != value && largest == largest);
        const bool equal = value == largest || (value != value && largest != largest);
        if (greater || (equal && other < best)) best = other;
    }
    if (lane == 0 && best == labels[row]) atomicAdd(out, 1ull);
}
