// Formulas of the losses of kernels/losses.py, but for the softmax.
//
// A comparison with NaN is false: each choice is written so that NaN takes the branch that keeps it.

struct Cost {
    T cost, slope;
};

// Logarithms without cancellation; a term whose factor is 0 is 0, whatever x is.
__device__ inline Cost binary_cost(T x, T t, T c) {
    const T e = exp(-fabs(x)), tail = log1p(e), yes = c * t, no = T(1) - t;
    const T more = T(1) / (T(1) + e), less = e / (T(1) + e);
    const T hit = yes == T(0) ? T(0) : yes * ((x < T(0) ? -x : x - x) + tail);
    const T miss = no == T(0) ? T(0) : no * ((x > T(0) ? x : x - x) + tail);
    return {hit + miss, no * (x > T(0) ? more : less) - yes * (x > T(0) ? less : more)};
}

__device__ inline Cost huber_cost(T d, T delta) {
    const T size = fabs(d);
    if (size > delta) return {delta * (size - T(0.5) * delta), d > T(0) ? delta : -delta};
    return {T(0.5) * d * d, d};
}

// FUNCTION(name, cost and slope) of an element: x is the prediction, t the target, c the weight of the channel, a the
// loss's parameter.
#define ELEMENT_LOSSES(FUNCTION)                                                                                       \
    FUNCTION(binary_cross_entropy, binary_cost(x, t, c))                                                               \
    FUNCTION(mean_squared_error, (Cost{(x - t) * (x - t), T(2) * (x - t)}))                                            \
    FUNCTION(mean_absolute_error, (Cost{fabs(x - t), x > t ? T(1) : x < t ? T(-1) : x - t}))                           \
    FUNCTION(huber, huber_cost(x - t, a))

// FUNCTION(name, cost, slope) of a margin of another class, in double: m is at least 0, or NaN.
#define ROW_LOSSES(FUNCTION)                                                                                           \
    FUNCTION(multiclass_hinge, m, m > 0 ? 1.0 : m)                                                                     \
    FUNCTION(squared_hinge, m * m, 2 * m)
