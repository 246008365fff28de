// Copying and filling, on unsigned words of BYTES bytes: whatever the type, bits stay as they are.
#if BYTES == 1
using T = unsigned char;
#elif BYTES == 2
using T = unsigned short;
#elif BYTES == 4
using T = unsigned;
#else
using T = unsigned long long;
#endif
#include "vector.cuh"
#include "map.cuh"

extern "C" __global__ void __launch_bounds__(256, 4) copy_array(const T* x, T* out, long long n) {
    map(x, out, n, [](T v) { return v; });
}

struct Fill {
    T* out;
    T word;
    __device__ void vector(long long i) const {
        Vector value;
        for (int k = 0; k < WIDTH; ++k) value.lane[k] = word;
        *(Vector*)(out + i) = value;
    }
    __device__ void scalar(long long i) const { out[i] = word; }
};

extern "C" __global__ void __launch_bounds__(256, 4) fill_array(T* out, long long n, unsigned long long word) {
    for_each_element(on_boundary(out, 16), n, Fill{out, (T)word});
}
