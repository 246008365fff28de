// Adds the parts of a weight's gradient in their order. A sum that is not finite is computed anew from its formula, as a
// padded cell times an infinite gradient is NaN in the parts (see exact.cuh).
using T = ELEMENT;
#define BACKWARD 0
#include "taps.cuh"

extern "C" __global__ void __launch_bounds__(256)
    sum_splits(const T* sums, const T* grad, const T* x, T* out, int splits, int batch, int height, int width,
               int out_height, int out_width, int top, int left) {
    constexpr int ROWS = KERNEL_H * KERNEL_W * CHANNELS, RESULTS = GROUPS * COLUMNS;
    constexpr long long SIZE = (long long)ROWS * RESULTS;
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < SIZE; i += step) {
        T sum = 0;
        for (int split = 0; split < splits; ++split) sum += sums[split * SIZE + i];
        if (!(sum - sum == 0)) {
            const int column = (int)(i % RESULTS), group = column / COLUMNS, row = (int)(i / RESULTS);
            const int c = group * CHANNELS + row % CHANNELS, tap = row / CHANNELS;
            const int dh = tap / KERNEL_W * DILATION_H - top, dw = tap % KERNEL_W * DILATION_W - left;
            sum = 0;
            for (long long n = 0; n < batch; ++n) {
                for (int p = 0; p < out_height; ++p) {
                    const int h = p * STRIDE_H + dh;
                    if (!inside(h, height)) continue;
                    for (int q = 0; q < out_width; ++q) {
                        const int w = q * STRIDE_W + dw;
                        if (!inside(w, width)) continue;
                        sum += x[((n * height + h) * width + w) * (GROUPS * CHANNELS) + c] *
                               grad[((n * out_height + p) * out_width + q) * RESULTS + column];
                    }
                }
            }
#ifdef FASTCONV_EMULATOR
            // Not finite for a reason, and not for memory that was read unwritten; see exact.cuh.
            bool reason = !(sum - sum == 0);
            for (long long k = column; k < (long long)batch * out_height * out_width * RESULTS; k += RESULTS)
                reason = reason || !(grad[k] - grad[k] == 0);
            for (long long k = c; k < (long long)batch * height * width * GROUPS * CHANNELS; k += GROUPS * CHANNELS)
                reason = reason || !(x[k] - x[k] == 0);
            if (!reason) emulator::fault("a sum of finite numbers was not finite: memory read unwritten?");
#endif
        }
        out[i] = sum;
    }
}
