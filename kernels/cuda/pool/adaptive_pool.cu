// Average pooling to a given size and its gradient, NHWC, built like avg_pool.cu: part p of P of an axis of H cells
// goes from floor(p * H / P) to ceil((p + 1) * H / P), and a cell is in some parts by the same formula. Sums in double.
// Bound by memory.
using T = ELEMENT;
#include "vector.cuh"
#include "rows.cuh"
#include "pixels.cuh"

// Where part `i` of `parts` of an axis begins and ends.
struct Part {
    int begin, end;
    __device__ inline Part(int i, int parts, int size)
        : begin((int)((long long)i * size / parts)), end((int)(((i + 1LL) * size + parts - 1) / parts)) {}
    __device__ inline int count() const { return end - begin; }
};

struct Maps {
    int in_h, in_w, out_h, out_w, channels;
};

template <int W> __device__ inline void means_of_parts(const T* x, T* out, long long pixels, const Maps& m) {
    for (int chunk = first_chunk<W>(); chunk < m.channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= m.channels) return;
        for (Pixels at(m.out_h, m.out_w); at.number < pixels; at.advance()) {
            const Part rows(at.row, m.out_h, m.in_h), columns(at.column, m.out_w, m.in_w);
            Pack<double, W> total = splat<double, W>(0);
            for (int h = rows.begin; h < rows.end; ++h) {
                for (int w = columns.begin; w < columns.end; ++w) {
                    const long long place = (at.image * m.in_h + h) * m.in_w + w;
                    const Pack<T, W> value = load<T, W>(x + place * m.channels + c);
                    for (int k = 0; k < W; ++k) total.lane[k] += (double)value.lane[k];
                }
            }
            const double count = (double)rows.count() * columns.count();
            Pack<T, W> mean;
            for (int k = 0; k < W; ++k) mean.lane[k] = (T)(total.lane[k] / count);
            store<T, W>(out + at.number * m.channels + c, mean);
        }
    }
}

template <int W> __device__ inline void shares_of_parts(const T* grad, T* out, long long pixels, const Maps& m) {
    for (int chunk = first_chunk<W>(); chunk < m.channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= m.channels) return;
        for (Pixels at(m.in_h, m.in_w); at.number < pixels; at.advance()) {
            const Part rows(at.row, m.in_h, m.out_h), columns(at.column, m.in_w, m.out_w);
            Pack<double, W> total = splat<double, W>(0);
            for (int p = rows.begin; p < rows.end; ++p) {
                for (int q = columns.begin; q < columns.end; ++q) {
                    const double count =
                        (double)Part(p, m.out_h, m.in_h).count() * Part(q, m.out_w, m.in_w).count();
                    const long long place = (at.image * m.out_h + p) * m.out_w + q;
                    const Pack<T, W> value = load<T, W>(grad + place * m.channels + c);
                    for (int k = 0; k < W; ++k) total.lane[k] += (double)value.lane[k] / count;
                }
            }
            Pack<T, W> sum;
            for (int k = 0; k < W; ++k) sum.lane[k] = (T)total.lane[k];
            store<T, W>(out + at.number * m.channels + c, sum);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 3)
    adaptive_avg_pool2d_pixels(const T* x, T* out, long long pixels, int in_h, int in_w, int out_h, int out_w,
                               int channels) {
    const Maps maps = {in_h, in_w, out_h, out_w, channels};
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(out, 16)) {
        means_of_parts<WIDTH>(x, out, pixels, maps);
    } else {
        means_of_parts<1>(x, out, pixels, maps);
    }
}

extern "C" __global__ void __launch_bounds__(256, 3)
    adaptive_avg_pool2d_backward_pixels(const T* grad, T* out, long long pixels, int in_h, int in_w, int out_h,
                                        int out_w, int channels) {
    const Maps maps = {in_h, in_w, out_h, out_w, channels};
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(out, 16)) {
        shares_of_parts<WIDTH>(grad, out, pixels, maps);
    } else {
        shares_of_parts<1>(grad, out, pixels, maps);
    }
}
