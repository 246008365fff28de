// Copies between activations: joining and cutting channels, the shortcut of ResNets. Bound by memory.
using T = ELEMENT;
#include "vector.cuh"
#include "rows.cuh"
#include "pixels.cuh"

template <int W>
__device__ inline void copy_rows(const T* x, T* out, long long rows, int channels, int x_channels, int out_channels) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        for (long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y; row < rows;
             row += gridDim.x * (long long)blockDim.y) {
            store<T, W>(out + row * out_channels + c, load<T, W>(x + row * x_channels + c));
        }
    }
}

// `channels` channels of each row, from channel `first_x` of x to channel `first_out` of out.
extern "C" __global__ void __launch_bounds__(256, 4)
    copy_channels(const T* x, T* out, long long rows, int channels, int x_channels, int first_x, int out_channels,
                  int first_out) {
    x += first_x;
    out += first_out;
    if ((channels | x_channels | out_channels) % WIDTH == 0 && on_boundary(x, 16) && on_boundary(out, 16)) {
        copy_rows<WIDTH>(x, out, rows, channels, x_channels, out_channels);
    } else {
        copy_rows<1>(x, out, rows, channels, x_channels, out_channels);
    }
}

struct Shortcut {
    int in_h, in_w, channels, out_h, out_w, out_channels, stride_h, stride_w, before;
};

template <int W> __device__ inline void subsample_pixels(const T* x, T* out, long long pixels, const Shortcut& s) {
    for (int chunk = first_chunk<W>(); chunk < s.out_channels; chunk += next_chunk<W>()) {
        const int k = chunk + threadIdx.x * W, c = k - s.before;
        if (k >= s.out_channels) return;
        for (Pixels at(s.out_h, s.out_w); at.number < pixels; at.advance()) {
            Pack<T, W> value = splat<T, W>(0);
            if (c >= 0 && c < s.channels) {
                const long long source = (at.image * s.in_h + at.row * s.stride_h) * s.in_w + at.column * s.stride_w;
                value = load<T, W>(x + source * s.channels + c);
            }
            store<T, W>(out + at.number * s.out_channels + k, value);
        }
    }
}

template <int W> __device__ inline void spread_pixels(const T* grad, T* out, long long pixels, const Shortcut& s) {
    for (int chunk = first_chunk<W>(); chunk < s.channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= s.channels) return;
        for (Pixels at(s.in_h, s.in_w); at.number < pixels; at.advance()) {
            Pack<T, W> value = splat<T, W>(0);
            const int p = at.row / s.stride_h, q = at.column / s.stride_w;
            if (p * s.stride_h == at.row && q * s.stride_w == at.column) {
                const long long source = (at.image * s.out_h + p) * s.out_w + q;
                value = load<T, W>(grad + source * s.out_channels + s.before + c);
            }
            store<T, W>(out + at.number * s.channels + c, value);
        }
    }
}

// Every stride-th pixel, with channels of zeros before and behind.
extern "C" __global__ void __launch_bounds__(256, 4)
    subsample(const T* x, T* out, long long pixels, int in_h, int in_w, int channels, int out_h, int out_w,
              int out_channels, int stride_h, int stride_w, int before) {
    const Shortcut s = {in_h, in_w, channels, out_h, out_w, out_channels, stride_h, stride_w, before};
    if ((channels | out_channels | before) % WIDTH == 0 && on_boundary(x, 16) && on_boundary(out, 16)) {
        subsample_pixels<WIDTH>(x, out, pixels, s);
    } else {
        subsample_pixels<1>(x, out, pixels, s);
    }
}

// Gradient of `subsample`, zero at the pixels left out.
extern "C" __global__ void __launch_bounds__(256, 3)
    spread(const T* grad, T* out, long long pixels, int in_h, int in_w, int channels, int out_h, int out_w,
           int out_channels, int stride_h, int stride_w, int before) {
    const Shortcut s = {in_h, in_w, channels, out_h, out_w, out_channels, stride_h, stride_w, before};
    if ((channels | out_channels | before) % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(out, 16)) {
        spread_pixels<WIDTH>(grad, out, pixels, s);
    } else {
        spread_pixels<1>(grad, out, pixels, s);
    }
}
