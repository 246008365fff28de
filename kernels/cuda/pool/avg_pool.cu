// Average pooling and its gradient, NHWC, built like max_pool.cu. Bound by memory. A window counts the cells of the map
// grown by `low` before and `high` behind: the padding, or nothing where padded cells do not count. Sums are of up to
// 32 terms in T, and these are added in double, so that their error does not grow with the window.
using T = ELEMENT;
#include "vector.cuh"
#include "rows.cuh"
#include "pixels.cuh"

struct Axis {
    int size, windows, kernel, stride, padding, low, high;
    __device__ inline int count(int window) const {
        const int start = window * stride - padding, stop = start + kernel;
        return (stop < size + high ? stop : size + high) - (start > -low ? start : -low);
    }
};

// A sum in two steps: terms are added to `part`, and 32 of them to the whole.
constexpr int TERMS = 32;
template <int W> struct Sum {
    Pack<T, W> part = splat<T, W>(0);
    Pack<double, W> whole = splat<double, W>(0);
    int terms = 0;
    bool whole_counts = false;
    __device__ inline void flush() {
        whole_counts = true;
        for (int k = 0; k < W; ++k) whole.lane[k] += part.lane[k], part.lane[k] = 0;
        terms = 0;
    }
    __device__ inline void add(const Pack<T, W>& term) {
        if (terms == TERMS) flush();
        for (int k = 0; k < W; ++k) part.lane[k] += term.lane[k];
        ++terms;
    }
    __device__ inline Pack<T, W> total() {
        if (!whole_counts) return part;
        flush();
        Pack<T, W> rounded;
        for (int k = 0; k < W; ++k) rounded.lane[k] = (T)whole.lane[k];
        return rounded;
    }
};

template <int W>
__device__ inline void means_of_windows(const T* x, T* out, long long pixels, int channels, Axis h, Axis w) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        for (Pixels at(h.windows, w.windows); at.number < pixels; at.advance()) {
            const Window rows(at.row, h.kernel, h.stride, h.padding, 1, h.size);
            const Window columns(at.column, w.kernel, w.stride, w.padding, 1, w.size);
            Sum<W> sum;
            for (int r = rows.begin; r < rows.end; ++r) {
                const long long line = (at.image * h.size + rows.start + r) * w.size + columns.start;
                for (int s = columns.begin; s < columns.end; ++s) sum.add(load<T, W>(x + (line + s) * channels + c));
            }
            Pack<T, W> total = sum.total();
            const T count = (T)((long long)h.count(at.row) * w.count(at.column));
            for (int k = 0; k < W; ++k) total.lane[k] /= count;
            store<T, W>(out + at.number * channels + c, total);
        }
    }
}

template <int W>
__device__ inline void shares_of_windows(const T* grad, T* out, long long pixels, int channels, Axis h, Axis w) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        for (Pixels at(h.size, w.size); at.number < pixels; at.advance()) {
            const Windows rows(at.row, h.kernel, h.stride, h.padding, 1, h.windows);
            const Windows columns(at.column, w.kernel, w.stride, w.padding, 1, w.windows);
            Sum<W> sum;
            for (int p = rows.begin; p < rows.end; ++p) {
                for (int q = columns.begin; q < columns.end; ++q) {
                    const long long window = (at.image * h.windows + p) * w.windows + q;
                    const T count = (T)((long long)h.count(p) * w.count(q));
                    Pack<T, W> value = load<T, W>(grad + window * channels + c);
                    for (int k = 0; k < W; ++k) value.lane[k] /= count;
                    sum.add(value);
                }
            }
            store<T, W>(out + at.number * channels + c, sum.total());
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 3)
    avg_pool2d_pixels(const T* x, T* out, long long pixels, int channels, int in_h, int out_h, int kernel_h,
                      int stride_h, int top, int low_h, int high_h, int in_w, int out_w, int kernel_w, int stride_w,
                      int left, int low_w, int high_w) {
    const Axis h = {in_h, out_h, kernel_h, stride_h, top, low_h, high_h};
    const Axis w = {in_w, out_w, kernel_w, stride_w, left, low_w, high_w};
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(out, 16)) {
        means_of_windows<WIDTH>(x, out, pixels, channels, h, w);
    } else {
        means_of_windows<1>(x, out, pixels, channels, h, w);
    }
}

extern "C" __global__ void __launch_bounds__(256, 3)
    avg_pool2d_backward_pixels(const T* grad, T* out, long long pixels, int channels, int in_h, int out_h, int kernel_h,
                               int stride_h, int top, int low_h, int high_h, int in_w, int out_w, int kernel_w,
                               int stride_w, int left, int low_w, int high_w) {
    const Axis h = {in_h, out_h, kernel_h, stride_h, top, low_h, high_h};
    const Axis w = {in_w, out_w, kernel_w, stride_w, left, low_w, high_w};
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(out, 16)) {
        shares_of_windows<WIDTH>(grad, out, pixels, channels, h, w);
    } else {
        shares_of_windows<1>(grad, out, pixels, channels, h, w);
    }
}
