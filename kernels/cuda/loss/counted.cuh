// What the rows of a batch count in a loss, and what their sum is divided by; null for what there is not.

struct Counted {
    const double* weights;
    const double* total;
    double plain;

    __device__ double weight(long long row) const { return weights ? weights[row] : 1; }
    __device__ double divisor() const {
        const double all = total ? *total : plain;
        return all != 0 ? all : 1;
    }
};

// Sum over a block of 256 threads, by halves; `shared` holds a number a thread.
__device__ inline double sum_over_block(double total, double* shared) {
    shared[threadIdx.x] = total;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    return shared[0];
}
