// The formula itself, cell by cell, for results that came out as NaN or infinity.
//
// The fast kernels multiply padded cells as zeros, and zero times infinity is NaN where the contract skips the cell.
// Whenever that happens the result is not finite, so the thread that finds such a result computes it again here, in
// float and from the weight as it was given. Nothing is read twice unless a number was not finite before.

// One result; `weight` is HWIO with CHANNELS and COLUMNS the channels of a group that are summed and that result.
//
// The emulator fills memory with NaN that nobody has written yet. So that such a NaN is not mended here, it wants a
// reason: a finite result must have had a weight that is not finite beside the map.
template <class T, class Read>
__device__ __noinline__ T exact_result(Read x, const T* weight, T sum, const Axis& rows, const Axis& columns, int row,
                                       int column, int height, int width, int group, int result) {
    bool reason = false;
    for (int i = 0; i < rows.taps; ++i) {
        const int h = row * rows.step + rows.origin + i * rows.tap_step;
        for (int j = 0; j < columns.taps; ++j) {
            const int w = column * columns.step + columns.origin + j * columns.tap_step;
            const bool skipped = !inside(h, height) || !inside(w, width);
#ifndef FASTCONV_EMULATOR
            if (skipped) continue;
#endif
            const int r = rows.first + i * rows.weight_step, s = columns.first + j * columns.weight_step;
            for (int c = 0; c < CHANNELS; ++c) {
#if BACKWARD
                const long long k = ((long long)(r * KERNEL_W + s) * COLUMNS + result) * (GROUPS * CHANNELS) +
                                    group * CHANNELS + c;
#else
                const long long k = ((long long)(r * KERNEL_W + s) * CHANNELS + c) * (GROUPS * COLUMNS) +
                                    group * COLUMNS + result;
#endif
                if (skipped)
                    reason = reason || !(weight[k] - weight[k] == 0);
                else
                    sum += (T)x(((long long)h * width + w), c) * weight[k];
            }
        }
    }
#ifdef FASTCONV_EMULATOR
    if (sum - sum == 0 && !reason) emulator::fault("a sum of finite numbers was not finite: memory read unwritten?");
#endif
    return sum;
}

template <class T> __device__ inline bool not_finite(T x) {
    return !(x - x == 0);
}
