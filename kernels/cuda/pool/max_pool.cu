// Max pooling and its gradient, NHWC. A thread keeps its channels and walks over pixels. Forward, it runs over the
// cells of the window that lie inside; backward it gathers from the windows that cover its pixel, in ascending order,
// so nothing is written twice. Bound by memory. WINDOW, if not 0, is the size of a square window without dilation.
using T = ELEMENT;
#include "vector.cuh"
#include "rows.cuh"
#include "pixels.cuh"

#if PLACE_BYTES == 1
using Place = unsigned char;
#else
using Place = int;
#endif

struct Geometry {
    int in_h, in_w, out_h, out_w, channels;
    int kernel_h, kernel_w, stride_h, stride_w, top, left, dilation_h, dilation_w;
};

// The first cell inside wins where all are -infinity; a NaN wins over every number, the first of them over later ones.
template <int W>
__device__ inline void largest_of_windows(const T* x, T* out, Place* argmax, long long pixels, const Geometry& g) {
    for (int chunk = first_chunk<W>(); chunk < g.channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= g.channels) return;
        for (Pixels at(g.out_h, g.out_w); at.number < pixels; at.advance()) {
            const Window rows(at.row, g.kernel_h, g.stride_h, g.top, g.dilation_h, g.in_h);
            const Window columns(at.column, g.kernel_w, g.stride_w, g.left, g.dilation_w, g.in_w);
            Pack<T, W> best = splat<T, W>((T)__int_as_float(0xff800000));  // -infinity: of no cells
            Pack<Place, W> place = splat<Place, W>(0);
            bool seen = false;
            for (int r = rows.begin; r < rows.end; ++r) {
                const long long line = (at.image * g.in_h + rows.start + r * g.dilation_h) * g.in_w + columns.start;
                for (int s = columns.begin; s < columns.end; ++s) {
                    const Pack<T, W> value = load<T, W>(x + (line + s * g.dilation_w) * g.channels + c);
                    for (int k = 0; k < W; ++k) {
                        const T v = value.lane[k], b = best.lane[k];
                        if (!seen || v > b || (v != v && b == b)) {
                            best.lane[k] = v;
                            place.lane[k] = (Place)(r * g.kernel_w + s);
                        }
                    }
                    seen = true;
                }
            }
            const long long element = at.number * g.channels + c;
            store<T, W>(out + element, best);
            store<Place, W>(argmax + element, place);
        }
    }
}

template <int W>
__device__ inline void gather_from_windows(const T* grad, const Place* argmax, T* out, long long pixels,
                                           const Geometry& g) {
    for (int chunk = first_chunk<W>(); chunk < g.channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= g.channels) return;
        for (Pixels at(g.in_h, g.in_w); at.number < pixels; at.advance()) {
            const Windows rows(at.row, g.kernel_h, g.stride_h, g.top, g.dilation_h, g.out_h);
            const Windows columns(at.column, g.kernel_w, g.stride_w, g.left, g.dilation_w, g.out_w);
            Pack<T, W> total = splat<T, W>(0);
            for (int p = rows.begin; p < rows.end; ++p) {
                const int r = rows.tap(p);
                if (r < 0) continue;
                for (int q = columns.begin; q < columns.end; ++q) {
                    const int s = columns.tap(q);
                    if (s < 0) continue;
                    const long long element = ((at.image * g.out_h + p) * g.out_w + q) * g.channels + c;
                    const Pack<Place, W> place = load<Place, W>(argmax + element);
                    const Pack<T, W> value = load<T, W>(grad + element);
                    const Place here = (Place)(r * g.kernel_w + s);
                    for (int k = 0; k < W; ++k) {
                        if (place.lane[k] == here) total.lane[k] += value.lane[k];
                    }
                }
            }
            store<T, W>(out + at.number * g.channels + c, total);
        }
    }
}

__device__ inline Geometry geometry_of(int in_h, int in_w, int out_h, int out_w, int channels, int kernel_h,
                                       int kernel_w, int stride_h, int stride_w, int top, int left, int dilation_h,
                                       int dilation_w) {
    if (WINDOW) kernel_h = kernel_w = WINDOW, dilation_h = dilation_w = 1;  // constants, so the loops unroll
    return {in_h,     in_w,     out_h, out_w, channels,   kernel_h,  kernel_w,
            stride_h, stride_w, top,   left,  dilation_h, dilation_w};
}

extern "C" __global__ void __launch_bounds__(256, 4)
    max_pool2d_pixels(const T* x, T* out, Place* argmax, long long pixels, int in_h, int in_w, int out_h, int out_w,
                      int channels, int kernel_h, int kernel_w, int stride_h, int stride_w, int top, int left,
                      int dilation_h, int dilation_w) {
    const Geometry g = geometry_of(in_h, in_w, out_h, out_w, channels, kernel_h, kernel_w, stride_h, stride_w, top,
                                   left, dilation_h, dilation_w);
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(out, 16) &&
        on_boundary(argmax, WIDTH * PLACE_BYTES)) {
        largest_of_windows<WIDTH>(x, out, argmax, pixels, g);
    } else {
        largest_of_windows<1>(x, out, argmax, pixels, g);
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    max_pool2d_backward_pixels(const T* grad, const Place* argmax, T* out, long long pixels, int in_h, int in_w,
                               int out_h, int out_w, int channels, int kernel_h, int kernel_w, int stride_h,
                               int stride_w, int top, int left, int dilation_h, int dilation_w) {
    const Geometry g = geometry_of(in_h, in_w, out_h, out_w, channels, kernel_h, kernel_w, stride_h, stride_w, top,
                                   left, dilation_h, dilation_w);
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(out, 16) &&
        on_boundary(argmax, WIDTH * PLACE_BYTES)) {
        gather_from_windows<WIDTH>(grad, argmax, out, pixels, g);
    } else {
        gather_from_windows<1>(grad, argmax, out, pixels, g);
    }
}
