// What becomes of a sum of a convolution of type T: bias, addend, a pointwise function or its gradient, and the way to
// memory.
#include "pointwise.cuh"

template <int W> struct alignas(sizeof(T) * W) Neighbours {
    T lane[W];
};

__device__ inline T rectified(T x) {
    return Function{relu_number}.value(x);
}

// A function of x, or with `back` its gradient from that of y. Not inlined: the code of all functions is long.
__device__ __noinline__ T through(int number, T a, T b, bool back, T x, T saved) {
    const Function function{number, a, b};
    return back ? function.gradient(x, saved) : function.value(x);
}

struct Epilogue {
    const T* bias;    // or null
    const T* addend;  // or null; from here on all are as `out`
    const T* saved;   // or null: what the gradient of the function needs, which is wanted then
    T* before;        // or null: keeps what comes before the function
    T* out;
    Function function;

    // Whether bias, addend and rectifier are all: what has a short way of its own.
    __device__ inline bool is_plain() const {
        return !saved && !before && (function.number == NO_FUNCTION || function.number == relu_number);
    }
    __device__ inline T plain(T sum, long long place, int channel) const {
        if (bias) sum += bias[channel];
        if (addend) sum += addend[place];
        return function.number ? rectified(sum) : sum;
    }

    // Finishes and stores sums of W neighbouring channels, for which all arrays lie on boundaries.
    template <int W> __device__ inline void finish(Neighbours<W> sums, long long place, int channel) const {
        using Row = Neighbours<W>;
        auto add = [&](const T* from) {
            const Row more = *(const Row*)from;
            for (int k = 0; k < W; ++k) sums.lane[k] += more.lane[k];
        };
        if (bias) add(bias + channel);
        if (addend) add(addend + place);
        if (before) *(Row*)(before + place) = sums;
        for (int k = 0; function.number && k < W; ++k) {
            const T own = saved ? saved[place + k] : T(0);
            sums.lane[k] = through(function.number, function.a, function.b, saved, sums.lane[k], own);
        }
        *(Row*)(out + place) = sums;
    }
};
