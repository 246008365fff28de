// Arrays of rows x channels: a thread keeps WIDTH channels (one, where vectors do not fit) and walks over rows, so what
// belongs to a channel stays in registers and neighbouring threads read neighbouring addresses.

// First channel of this block's first chunk; the loop over chunks is the same for all threads of a block.
template <int W> __device__ inline int first_chunk() {
    return blockIdx.y * blockDim.x * W;
}
template <int W> __device__ inline int next_chunk() {
    return gridDim.y * blockDim.x * W;
}

template <class E, int W> __device__ inline Pack<E, W> load(const E* pointer) {
    return *(const Pack<E, W>*)pointer;
}
template <class E, int W> __device__ inline void store(E* pointer, const Pack<E, W>& value) {
    *(Pack<E, W>*)pointer = value;
}

template <class E, int W> __device__ inline Pack<E, W> splat(E value) {
    Pack<E, W> result;
    for (int k = 0; k < W; ++k) result.lane[k] = value;
    return result;
}

// Sum over the lines of a block, for each column, by halves: the order is fixed. Every thread of the block comes here;
// `shared` holds one Pack a thread and is free again afterwards.
template <class E, int W> __device__ inline Pack<E, W> sum_over_lines(Pack<E, W> mine, Pack<E, W>* shared) {
    Pack<E, W>* own = shared + threadIdx.y * blockDim.x + threadIdx.x;
    *own = mine;
    __syncthreads();
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
        if (threadIdx.y < half) {
            for (int k = 0; k < W; ++k) own->lane[k] += own[half * blockDim.x].lane[k];
        }
        __syncthreads();
    }
    const Pack<E, W> total = shared[threadIdx.x];
    __syncthreads();
    return total;
}
