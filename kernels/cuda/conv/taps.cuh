// Which cells of the map a result is made of, for a convolution (BACKWARD 0) and for the gradient of its input
// (BACKWARD 1), along one axis.
//
// Results come in phases: one for a convolution; for the gradient, as many as the stride, as results a stride apart use
// the same taps. So a strided gradient multiplies no zeros. In a phase, result number `place` lies at
// out_first + place * out_step and reads the cells place * step + origin + tap * tap_step with the weights
// first + tap * weight_step, for tap = 0 .. taps - 1. Cells outside the map count as nothing.

struct Axis {
    int places, out_first, out_step, taps, first, weight_step, step, origin, tap_step;
};

__device__ constexpr int common_divisor(int a, int b) {
    return b == 0 ? a : common_divisor(b, a % b);
}

template <int KERNEL, int STRIDE, int DILATION> __device__ inline Axis axis_of(int phase, int low, int out_size) {
#if BACKWARD
    constexpr int WEIGHT_STEP = STRIDE / common_divisor(STRIDE, DILATION);
    int first = 0;  // the first tap that meets results of this phase, if any does
    while (first < WEIGHT_STEP && (phase + low - first * DILATION) % STRIDE != 0) ++first;
    const int taps = first < KERNEL && first < WEIGHT_STEP ? (KERNEL - first + WEIGHT_STEP - 1) / WEIGHT_STEP : 0;
    const int places = out_size > phase ? (out_size - phase + STRIDE - 1) / STRIDE : 0;
    return {places,      phase, STRIDE, taps, first, WEIGHT_STEP, 1, (phase + low - first * DILATION) / STRIDE,
            -WEIGHT_STEP * DILATION / STRIDE};
#else
    return {out_size, 0, 1, KERNEL, 0, 1, STRIDE, -low, DILATION};
#endif
}

__device__ inline bool inside(int cell, int size) {
    return (unsigned)cell < (unsigned)size;
}
