// The gradient of any pointwise function, and its sums over the rows of an array of rows x channels as sum_part.cuh
// makes them, in one pass.
using T = ELEMENT;
#include "sum_part.cuh"
#include "pointwise.cuh"

// Blocks of a multiprocessor: functions of doubles take many registers.
constexpr int RESIDENT = sizeof(T) == 4 ? 4 : 3;

// out = gradient of x, from `grad` of y and `saved`, which is y or x as the function needs.
template <int W> struct Gradient {
    const T* grad;
    const T* saved;
    T* out;
    Function function;

    __device__ inline Pack<T, W> operator()(long long place) const {
        Pack<T, W> g = load<T, W>(grad + place);
        const Pack<T, W> own = load<T, W>(saved + place);
        for (int k = 0; k < W; ++k) g.lane[k] = function.gradient(g.lane[k], own.lane[k]);
        store<T, W>(out + place, g);
        return g;
    }
};

extern "C" __global__ void __launch_bounds__(256, RESIDENT)
    activate_gradient_sum_rows(const T* grad, const T* saved, T* out, T* sums, long long rows, int channels,
                               int part_rows, T a, T b, int function) {
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(saved, 16) && on_boundary(out, 16) &&
        on_boundary(sums, 16)) {
        sum_part<WIDTH>(sums, rows, channels, part_rows, Gradient<WIDTH>{grad, saved, out, {function, a, b}});
    } else {
        sum_part<1>(sums, rows, channels, part_rows, Gradient<1>{grad, saved, out, {function, a, b}});
    }
}
