// Sums over a block of threads.

// Of 256 threads, by halves; `shared` holds a number a thread.
__device__ inline double sum_over_block(double total, double* shared) {
    shared[threadIdx.x] = total;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    return shared[0];
}
