// Pointwise functions and their gradients: two kernels for each function of pointwise.cuh.
using T = ELEMENT;
#include "vector.cuh"
#include "map.cuh"
#include "pointwise.cuh"

#define KERNELS(function, value, gradient)                                                                             \
    extern "C" __global__ void __launch_bounds__(256, 4)                                                               \
        function##_forward(const T* x, T* out, long long n, T a, T b) {                                                \
        map(x, out, n, [a, b](T x) { return value; });                                                                 \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256, 4)                                                               \
        function##_gradient(const T* grad, const T* saved, T* out, long long n, T a, T b) {                            \
        map(grad, saved, out, n, [a, b](T g, T x) { return gradient; });                                               \
    }

POINTWISE(KERNELS)
