// Sixteen bytes of an array of T: what one thread loads at once. The arrays of the pool lie on such boundaries; views
// on an arena need not, so every kernel has a second way, element by element.
//
// __launch_bounds__ names the blocks of 256 threads that share a multiprocessor: 4 leave 64 registers a thread. Without
// the number, ptxas stays below the next step of occupancy and spills for it.

template <class E, int N> struct alignas(sizeof(E) * N) Pack {
    E lane[N];
};

constexpr int WIDTH = 16 / sizeof(T);
using Vector = Pack<T, WIDTH>;

template <class E> __device__ inline bool on_boundary(const E* pointer, int bytes) {
    return (unsigned long long)pointer % bytes == 0;
}
