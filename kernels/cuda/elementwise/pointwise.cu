// Activations and their gradients, elementwise. The library functions of CUDA serve both types: exp, expm1 and tanh are
// within 2 units in the last place, erfc within 5.
//
// A comparison with NaN is false: each choice is written so that NaN takes the branch that keeps it.
using T = ELEMENT;
#include "vector.cuh"
#include "map.cuh"

// 1 / (1 + exp(-x)): exp may overflow, which gives 0 as it should.
__device__ inline T logistic(T x) {
    return T(1) / (T(1) + exp(-x));
}

// x * logistic(x), with exp(-|x|) by its root, so that x * exp(x) does not pass through a number too small to hold.
__device__ inline T silu_of(T x) {
    const T root = exp(T(-0.5) * fabs(x));
    const T total = T(1) + root * root;
    return x > T(0) ? x / total : (x * root) * (root / total);
}

// Phi(x) = erfc(-x / sqrt(2)) / 2. In the tail, erfc(z + d) is about erfc(z) * (1 - 2 * z * d): d is what the product
// with 1 / sqrt(2) lost in rounding, which would cost z**2 units in the last place.
__device__ inline T normal_cdf(T x) {
    const T high = T(0.70710678118654752440), low = T(0.70710678118654752440 - (double)high);
    const T z = -x * high;
    const T tail = erfc(z);
    const T lost = sizeof(T) == 4 ? fma(-x, high, -z) - x * low : T(0);
    const T correction = T(2) * z * lost * tail;
    return T(0.5) * (z > T(1) && z < T(30) ? tail - correction : tail);
}

extern "C" __global__ void __launch_bounds__(256, 4) relu_forward(const T* x, T* out, long long n) {
    map(x, out, n, [](T v) { return v <= T(0) ? T(0) : v; });
}

extern "C" __global__ void __launch_bounds__(256, 4) relu_gradient(const T* grad, const T* y, T* out, long long n) {
    map(grad, y, out, n, [](T g, T v) { return v <= T(0) ? T(0) : g; });
}

extern "C" __global__ void __launch_bounds__(256, 4) leaky_relu_forward(const T* x, T* out, long long n, T slope) {
    map(x, out, n, [slope](T v) { return v > T(0) ? v : slope * v; });
}

extern "C" __global__ void __launch_bounds__(256, 4)
    leaky_relu_gradient(const T* grad, const T* x, T* out, long long n, T slope) {
    map(grad, x, out, n, [slope](T g, T v) { return v > T(0) ? g : slope * g; });
}

extern "C" __global__ void __launch_bounds__(256, 4) elu_forward(const T* x, T* out, long long n, T alpha) {
    map(x, out, n, [alpha](T v) { return v > T(0) ? v : alpha * expm1(v); });
}

extern "C" __global__ void __launch_bounds__(256, 4)
    elu_gradient(const T* grad, const T* x, T* out, long long n, T alpha) {
    map(grad, x, out, n, [alpha](T g, T v) { return v > T(0) ? g : g * (alpha * exp(v)); });
}

extern "C" __global__ void __launch_bounds__(256, 4) gelu_forward(const T* x, T* out, long long n) {
    map(x, out, n, [](T v) { return v * normal_cdf(v); });
}

extern "C" __global__ void __launch_bounds__(256, 4) gelu_gradient(const T* grad, const T* x, T* out, long long n) {
    map(grad, x, out, n, [](T g, T v) {
        const T density = T(0.39894228040143267794) * exp(T(-0.5) * v * v);
        return g * (normal_cdf(v) + v * density);
    });
}

extern "C" __global__ void __launch_bounds__(256, 4) silu_forward(const T* x, T* out, long long n) {
    map(x, out, n, [](T v) { return silu_of(v); });
}

extern "C" __global__ void __launch_bounds__(256, 4) silu_gradient(const T* grad, const T* x, T* out, long long n) {
    map(grad, x, out, n, [](T g, T v) {
        const T s = logistic(v);
        return g * (s * (T(1) + v * (T(1) - s)));
    });
}

extern "C" __global__ void __launch_bounds__(256, 4) sigmoid_forward(const T* x, T* out, long long n) {
    map(x, out, n, [](T v) { return logistic(v); });
}

extern "C" __global__ void __launch_bounds__(256, 4) sigmoid_gradient(const T* grad, const T* y, T* out, long long n) {
    map(grad, y, out, n, [](T g, T v) { return g * (v * (T(1) - v)); });
}

extern "C" __global__ void __launch_bounds__(256, 4) tanh_forward(const T* x, T* out, long long n) {
    map(x, out, n, [](T v) { return tanh(v); });
}

extern "C" __global__ void __launch_bounds__(256, 4) tanh_gradient(const T* grad, const T* y, T* out, long long n) {
    map(grad, y, out, n, [](T g, T v) { return g * ((T(1) - v) * (T(1) + v)); });
}
