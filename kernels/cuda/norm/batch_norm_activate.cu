// A normalisation with what follows it, an addend and any pointwise function, and the sums for its gradients, which the
// gradient goes back through the function for. Bound by memory. Kernels of their own, as the code of all functions
// takes registers that the others need not have.
using T = ELEMENT;
#include "batch_norm.cuh"
#include "pointwise.cuh"

// Blocks of a multiprocessor: functions of doubles take many registers.
constexpr int RESIDENT = sizeof(T) == 4 ? 3 : 2;

template <int W> __device__ inline void add(Pack<T, W>& to, const T* from) {
    const Pack<T, W> more = load<T, W>(from);
    for (int k = 0; k < W; ++k) to.lane[k] += more.lane[k];
}

// out = function(normalised x + addend), with statistics given; `addend` may be null.
extern "C" __global__ void __launch_bounds__(256, 4)
    normalise_activate(const T* x, const T* gamma, const T* beta, const T* mean, const T* rest, const T* var,
                       const T* deviation, const T* addend, T* out, long long rows, int channels, double eps, T a, T b,
                       int function) {
    const Function chosen{function, a, b};
    const auto finish = [&](auto& value, long long place) {
        constexpr int W = sizeof value / sizeof(T);
        if (addend) add<W>(value, addend + place);
        for (int k = 0; k < W; ++k) value.lane[k] = chosen.value(value.lane[k]);
    };
    if (channels % WIDTH == 0 && on_boundary(x, 16) && on_boundary(gamma, 16) && on_boundary(mean, 16) &&
        on_boundary(beta, 16) && on_boundary(addend, 16) && on_boundary(out, 16)) {
        normalise_by_variance<WIDTH>(x, gamma, beta, mean, rest, var, deviation, out, rows, channels, eps, finish);
    } else {
        normalise_by_variance<1>(x, gamma, beta, mean, rest, var, deviation, out, rows, channels, eps, finish);
    }
}

// As batch_norm_gradient_sums, for the gradient of what comes before the function, which is written to `passed`, where
// batch_norm_gradient_apply finds it. The function's gradient is computed from `saved`, its y, or where that is null
// from its x: the normalisation and `addend` once more, as they were computed.
extern "C" __global__ void __launch_bounds__(256, RESIDENT)
    activate_gradient_sums(const T* grad, const T* x, const T* gamma, const T* beta, const T* mean, const T* rest,
                           const T* var, const T* deviation, const T* addend, const T* saved, T* passed, double* sums,
                           double* products, double* distances, long long rows, int channels, int part_rows, double eps,
                           T a, T b, int function) {
    const Function chosen{function, a, b};
    const auto passing = [&](int c, const auto& rstd) {
        constexpr int W = sizeof rstd / sizeof(T);
        Pack<T, W> scale = splat<T, W>(0), base = scale;
        if (!saved) {
            scale = load<T, W>(gamma + c);
            base = base_of<W>(beta, rest, rstd, scale, c);
        }
        return [=](Pack<T, W>& g, const Pack<T, W>& z, long long place) {
            Pack<T, W> before;
            if (saved) {
                before = load<T, W>(saved + place);
            } else {
                for (int k = 0; k < W; ++k) before.lane[k] = z.lane[k] * scale.lane[k] + base.lane[k];
                if (addend) add<W>(before, addend + place);
            }
            for (int k = 0; k < W; ++k) g.lane[k] = chosen.gradient(g.lane[k], before.lane[k]);
            store<T, W>(passed + place, g);
        };
    };
    if (channels % WIDTH == 0 && on_boundary(grad, 16) && on_boundary(x, 16) && on_boundary(mean, 16) &&
        on_boundary(gamma, 16) && on_boundary(beta, 16) && on_boundary(addend, 16) && on_boundary(saved, 16) &&
        on_boundary(passed, 16)) {
        gradient_sums_of_part<WIDTH>(grad, x, mean, var, deviation, sums, products, distances, rows, channels,
                                     part_rows, eps, passing);
    } else {
        gradient_sums_of_part<1>(grad, x, mean, var, deviation, sums, products, distances, rows, channels, part_rows,
                                 eps, passing);
    }
}
