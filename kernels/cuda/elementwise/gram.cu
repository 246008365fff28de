// Gram matrices of Muon: divided by their trace, and a quadratic polynomial of one. Bound by memory. Each block sums the
// diagonal by itself, always in the same order, so that one launch does it.
using T = ELEMENT;

// out = gram / max(sqrt(trace), eps)**2, and norm[0] = max(sqrt(trace), eps).
extern "C" __global__ void __launch_bounds__(256, 4)
    normalise_gram(const T* gram, T* out, T* norm, int n, double eps) {
    __shared__ double sums[256];
    double sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += (double)gram[(long long)i * n + i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    const double root = sqrt(sums[0]), size = root < eps ? eps : root;
    const T share = (T)(1 / (size * size));
    if (blockIdx.x == 0 && threadIdx.x == 0) norm[0] = (T)size;
    const long long step = gridDim.x * (long long)blockDim.x, all = (long long)n * n;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < all; i += step) out[i] = share * gram[i];
}

// out = (a + b * gram + c * square) / norm; norm may be null for 1.
extern "C" __global__ void __launch_bounds__(256, 4)
    gram_polynomial(const T* gram, const T* square, const T* norm, T* out, int n, double a, double b, double c) {
    const double divisor = norm ? (double)*norm : 1.0;
    const T constant = (T)(a / divisor), one = (T)(b / divisor), two = (T)(c / divisor);
    const long long step = gridDim.x * (long long)blockDim.x, all = (long long)n * n;
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < all; i += step) {
        const T sum = one * gram[i] + two * square[i];
        out[i] = i / n == i % n ? sum + constant : sum;
    }
}
