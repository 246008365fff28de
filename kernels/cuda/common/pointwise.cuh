// Formulas of the pointwise functions of kernels/pointwise.py, for elements of type T. The library functions of CUDA
// serve both types: exp, expm1 and tanh are within 2 units in the last place, erfc within 5.
//
// A comparison with NaN is false: each choice is written so that NaN takes the branch that keeps it.

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

// With s = logistic(x) the derivative of x * s.
__device__ inline T silu_slope(T x, T s) {
    return s * (T(1) + x * (T(1) - s));
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

// exp(-x**2 / 2) / sqrt(2 * pi)
__device__ inline T normal_density(T x) {
    return T(0.39894228040143267794) * exp(T(-0.5) * x * x);
}

__device__ inline T mish_slope(T x, T w) {
    return w + x * ((T(1) - w) * (T(1) + w)) * logistic(x);
}

// FUNCTION(name, y of x, gradient of x) for each: g is the gradient of y, a and b are the parameters of the function,
// and in the gradient x is y where the function needs that.
#define POINTWISE(FUNCTION)                                                                                            \
    FUNCTION(relu, x <= T(0) ? T(0) : x, x <= T(0) ? T(0) : g)                                                         \
    FUNCTION(leaky_relu, x > T(0) ? x : a * x, x > T(0) ? g : a * g)                                                   \
    FUNCTION(elu, x > T(0) ? x : a * expm1(x), x > T(0) ? g : g * (a * exp(x)))                                        \
    FUNCTION(gelu, x * normal_cdf(x), g * (normal_cdf(x) + x * normal_density(x)))                                     \
    FUNCTION(silu, silu_of(x), g * silu_slope(x, logistic(x)))                                                         \
    FUNCTION(sigmoid, logistic(x), g * (x * (T(1) - x)))                                                               \
    FUNCTION(tanh, tanh(x), g * ((T(1) - x) * (T(1) + x)))                                                             \
    FUNCTION(mish, x * tanh(log1p(exp(x))), g * mish_slope(x, tanh(log1p(exp(x)))))                                    \
    FUNCTION(softplus, a * x > b ? x : (fmax(a * x, T(0)) + log1p(exp(-fabs(a * x)))) / a,                             \
             g * (a * x > b ? T(1) : logistic(a * x)))                                                             \
    FUNCTION(hardswish, x <= T(-3) ? T(0) : x >= T(3) ? x : x * (x + T(3)) / T(6),                                     \
             x <= T(-3) ? T(0) : x >= T(3) ? g : g * (x / T(3) + T(0.5)))

// The functions by number, for kernels that have all of them and are told which: the list's order, 0 for none. The
// branch is the same for all threads.
#define POINTWISE_NUMBER(name, value, gradient) name##_number,
enum { NO_FUNCTION, POINTWISE(POINTWISE_NUMBER) };

struct Function {
    int number;
    T a, b;

    __device__ inline T value(T x) const {
#define POINTWISE_VALUE(name, value, gradient)                                                                         \
    case name##_number: return value;
        switch (number) { POINTWISE(POINTWISE_VALUE) }
        return x;
    }
    __device__ inline T gradient(T g, T x) const {
#define POINTWISE_GRADIENT(name, value, gradient)                                                                      \
    case name##_number: return gradient;
        switch (number) { POINTWISE(POINTWISE_GRADIENT) }
        return g;
    }
};
