// Enlarging maps by repeating pixels, and its gradient, which adds each block of them in double, NHWC. A thread keeps
// its channels and walks over pixels. Bound by memory. `height` and `width` are those of the small map.
using T = ELEMENT;
#include "vector.cuh"
#include "rows.cuh"
#include "pixels.cuh"

struct Enlarged {
    int height, width, scale_h, scale_w, channels;
    __device__ inline long long columns() const { return (long long)width * scale_w; }
};

template <int W> __device__ inline void repeat_pixels(const T* x, T* out, long long pixels, const Enlarged& e) {
    for (int chunk = first_chunk<W>(); chunk < e.channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= e.channels) return;
        for (Pixels at(e.height * e.scale_h, e.width * e.scale_w); at.number < pixels; at.advance()) {
            const long long source = (at.image * e.height + at.row / e.scale_h) * e.width + at.column / e.scale_w;
            store<T, W>(out + at.number * e.channels + c, load<T, W>(x + source * e.channels + c));
        }
    }
}

template <int W> __device__ inline void add_pixels(const T* grad, T* out, long long pixels, const Enlarged& e) {
    for (int chunk = first_chunk<W>(); chunk < e.channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= e.channels) return;
        for (Pixels at(e.height, e.width); at.number < pixels; at.advance()) {
            Pack<double, W> total = splat<double, W>(0);
            for (int i = 0; i < e.scale_h; ++i) {
                const long long line = (at.image * e.height + at.row) * e.scale_h + i;
                const long long first = line * e.columns() + (long long)at.column * e.scale_w;
                for (int j = 0; j < e.scale_w; ++j) {
                    const Pack<T, W> value = load<T, W>(grad + (first + j) * e.channels + c);
                    for (int k = 0; k < W; ++k) total.lane[k] += (double)value.lane[k];
                }
            }
            Pack<T, W> sum;
            for (int k = 0; k < W; ++k) sum.lane[k] = (T)total.lane[k];
            store<T, W>(out + at.number * e.channels + c, sum);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    upsample_pixels(const T* x, T* out, long long pixels, int height, int width, int scale_h, int scale_w,
                    int channels) {
    const Enlarged maps = {height, width, scale_h, scale_w, channels};
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(out, 16)) {
        repeat_pixels<WIDTH>(x, out, pixels, maps);
    } else {
        repeat_pixels<1>(x, out, pixels, maps);
    }
}

extern "C" __global__ void __launch_bounds__(256, 3)
    upsample_backward_pixels(const T* grad, T* out, long long pixels, int height, int width, int scale_h, int scale_w,
                             int channels) {
    const Enlarged maps = {height, width, scale_h, scale_w, channels};
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(out, 16)) {
        add_pixels<WIDTH>(grad, out, pixels, maps);
    } else {
        add_pixels<1>(grad, out, pixels, maps);
    }
}
