// Sixteen bytes of an array of T: what one thread loads at once. The arrays of the pool lie on such boundaries; views on
// an arena need not, so every kernel has a second way, element by element.

template <class E, int N> struct alignas(sizeof(E) * N) Pack {
    E lane[N];
};

constexpr int WIDTH = 16 / sizeof(T);
using Vector = Pack<T, WIDTH>;

template <class E> __device__ inline bool on_boundary(const E* pointer, int bytes) {
    return (unsigned long long)pointer % bytes == 0;
}
