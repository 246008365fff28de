// Elementwise operations on flat arrays of T: sixteen bytes at a time where all arrays lie on sixteen bytes, else one
// element. Each element is computed alone, so the grid changes no bits. Bound by memory.

// For each i below n: operation(whole, i). A whole operation does elements i to i + WIDTH - 1, another one only i.
template <class Operation> __device__ inline void for_each_element(bool aligned, long long n, Operation operation) {
    const long long first = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    const long long step = gridDim.x * (long long)blockDim.x;
    const long long whole = aligned ? n / WIDTH * WIDTH : 0;
    for (long long i = first * WIDTH; i < whole; i += step * WIDTH) operation.vector(i);
    for (long long i = whole + first; i < n; i += step) operation.scalar(i);
}

template <class Function> struct Unary {
    const T* x;
    T* out;
    Function function;
    __device__ void vector(long long i) const {
        Vector a = *(const Vector*)(x + i);
        for (int k = 0; k < WIDTH; ++k) a.lane[k] = function(a.lane[k]);
        *(Vector*)(out + i) = a;
    }
    __device__ void scalar(long long i) const { out[i] = function(x[i]); }
};

template <class Function> struct Binary {
    const T* a;
    const T* b;
    T* out;
    Function function;
    __device__ void vector(long long i) const {
        Vector left = *(const Vector*)(a + i), right = *(const Vector*)(b + i);
        for (int k = 0; k < WIDTH; ++k) left.lane[k] = function(left.lane[k], right.lane[k]);
        *(Vector*)(out + i) = left;
    }
    __device__ void scalar(long long i) const { out[i] = function(a[i], b[i]); }
};

// out[i] = function(x[i]); `out` may be `x`.
template <class Function> __device__ inline void map(const T* x, T* out, long long n, Function function) {
    const bool aligned = on_boundary(x, 16) && on_boundary(out, 16);
    for_each_element(aligned, n, Unary<Function>{x, out, function});
}

// out[i] = function(a[i], b[i]); `out` may be `a` or `b`.
template <class Function> __device__ inline void map(const T* a, const T* b, T* out, long long n, Function function) {
    const bool aligned = on_boundary(a, 16) && on_boundary(b, 16) && on_boundary(out, 16);
    for_each_element(aligned, n, Binary<Function>{a, b, out, function});
}
