// Dropout: the mask is computed, not stored; the gradient computes it again from the same key. A thread makes one block
// of four words for four elements. Memory and the generator's 20 wide multiplications cost about the same.
using T = ELEMENT;
#include "vector.cuh"
#include "philox.cuh"

using Four = Pack<T, 4>;

// Element i is kept where word i % 4 of block i / 4 is at least `threshold`, which may be 2**32. The step is read from
// memory where `later_step` is given: a captured launch then draws new numbers each time.
extern "C" __global__ void __launch_bounds__(256, 4)
    dropout_elements(const T* x, T* out, long long n, unsigned long long threshold, T scale, unsigned long long seed,
                     unsigned stream, unsigned given_step, const long long* later_step) {
    const unsigned step = later_step ? (unsigned)*later_step : given_step;
    const bool aligned = on_boundary(x, alignof(Four)) && on_boundary(out, alignof(Four));
    const long long stride = gridDim.x * (long long)blockDim.x;
    for (long long block = blockIdx.x * (long long)blockDim.x + threadIdx.x; block * 4 < n; block += stride) {
        const Words words = philox_block(block, stream, step, seed);
        const long long first = block * 4;
        const bool whole = aligned && first + 4 <= n;
        const int count = n - first < 4 ? (int)(n - first) : 4;
        Four value;
        if (whole) value = *(const Four*)(x + first);
        for (int k = 0; k < 4; ++k) {
            if (!whole) value.lane[k] = k < count ? x[first + k] : T(0);
            value.lane[k] = words.word[k] >= threshold ? value.lane[k] * scale : T(0);
            if (!whole && k < count) out[first + k] = value.lane[k];
        }
        if (whole) *(Four*)(out + first) = value;
    }
}
