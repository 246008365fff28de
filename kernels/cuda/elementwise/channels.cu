// Operations with a number for each channel of arrays of rows x channels: adding a bias, and the rectifier whose slope
// is learned, forward and backward. Bound by memory. `slopes` is the number of channels, or 1 for one slope for all.
using T = ELEMENT;
#include "sum_part.cuh"

template <int W> __device__ inline Pack<T, W> slope_of(const T* slope, int slopes, int c) {
    return slopes == 1 ? splat<T, W>(*slope) : load<T, W>(slope + c);
}

// out = function(x, values of the channels), row by row.
template <int W, class Values, class Function>
__device__ inline void map_rows(const T* x, T* out, long long rows, int channels, Values values_of, Function function) {
    for (int chunk = first_chunk<W>(); chunk < channels; chunk += next_chunk<W>()) {
        const int c = chunk + threadIdx.x * W;
        if (c >= channels) return;
        const Pack<T, W> values = values_of(c);
        for (long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y; row < rows;
             row += gridDim.x * (long long)blockDim.y) {
            Pack<T, W> value = load<T, W>(x + row * channels + c);
            for (int k = 0; k < W; ++k) value.lane[k] = function(value.lane[k], values.lane[k]);
            store<T, W>(out + row * channels + c, value);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    add_bias_rows(const T* x, const T* bias, T* out, long long rows, int channels) {
    const auto sum = [](T value, T more) { return value + more; };
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(bias, 16) && on_boundary(out, 16)) {
        map_rows<WIDTH>(x, out, rows, channels, [=](int c) { return load<T, WIDTH>(bias + c); }, sum);
    } else {
        map_rows<1>(x, out, rows, channels, [=](int c) { return load<T, 1>(bias + c); }, sum);
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    prelu_rows(const T* x, const T* slope, T* out, long long rows, int channels, int slopes) {
    const auto rectified = [](T value, T factor) { return value > T(0) ? value : factor * value; };
    const bool suits = slopes == 1 || on_boundary(slope, 16);
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(out, 16) && suits) {
        map_rows<WIDTH>(x, out, rows, channels, [=](int c) { return slope_of<WIDTH>(slope, slopes, c); }, rectified);
    } else {
        map_rows<1>(x, out, rows, channels, [=](int c) { return slope_of<1>(slope, slopes, c); }, rectified);
    }
}

// Writes the gradient of x, and gives what an element adds to that of its slope.
template <int W> struct SlopeShare {
    const T* grad;
    const T* x;
    const T* slope;
    T* out;
    int channels, slopes;

    __device__ inline Pack<T, W> operator()(long long place) const {
        const Pack<T, W> value = load<T, W>(x + place);
        const Pack<T, W> factor = slope_of<W>(slope, slopes, slopes == 1 ? 0 : (int)(place % channels));
        Pack<T, W> g = load<T, W>(grad + place), share;
        for (int k = 0; k < W; ++k) {
            const bool passes = value.lane[k] > T(0);
            share.lane[k] = passes ? T(0) : g.lane[k] * value.lane[k];
            g.lane[k] = passes ? g.lane[k] : factor.lane[k] * g.lane[k];
        }
        store<T, W>(out + place, g);
        return share;
    }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    prelu_gradient(const T* grad, const T* x, const T* slope, T* out, T* sums, long long rows, int channels,
                   int part_rows, int slopes) {
    const bool suits = slopes == 1 || on_boundary(slope, 16);
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(x, 16) && on_boundary(out, 16) &&
        on_boundary(sums, 16) && suits) {
        sum_part<WIDTH>(sums, rows, channels, part_rows, SlopeShare<WIDTH>{grad, x, slope, out, channels, slopes});
    } else {
        sum_part<1>(sums, rows, channels, part_rows, SlopeShare<1>{grad, x, slope, out, channels, slopes});
    }
}
