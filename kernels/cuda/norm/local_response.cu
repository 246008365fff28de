// Local response normalisation across channels and its gradient. A thread computes an element, a line of threads the
// channels of a pixel, or 256 of them; a window's values come from the L1 cache, and backward, what each channel gives
// to its neighbours waits in shared memory: channels + low + high numbers for a line. Powers that are multiples of a
// quarter are products of square roots. Bound by memory for small windows.
using T = ELEMENT;
constexpr T LIFT = T(4294967296.0);  // of scale**(-beta - 1) * x, else below what float has from x = 1e13 on

struct Setting {
    int channels, low, high, quarters;
    T factor, k;
    double beta;

    // k + factor * the sum of the squares around channel c of a pixel.
    __device__ inline T scale(const T* pixel, int c) const {
        const int begin = c > low ? c - low : 0, end = c + high < channels - 1 ? c + high : channels - 1;
        T total = 0;
        for (int i = begin; i <= end; ++i) total += pixel[i] * pixel[i];
        return k + factor * total;
    }
    // scale**-beta
    __device__ inline T power(T scale) const {
        if (quarters < 0) return (T)pow((double)scale, -beta);
        const T root = T(1) / sqrt(scale);
        T result = 1;
        for (int i = 0; i < quarters / 2; ++i) result *= root;
        return quarters % 2 ? result * sqrt(root) : result;
    }
};

extern "C" __global__ void __launch_bounds__(256, 4)
    local_response_norm_rows(const T* x, T* out, long long rows, int channels, int low, int high, int quarters,
                             T factor, T k, double beta) {
    const Setting setting = {channels, low, high, quarters, factor, k, beta};
    const int c = blockIdx.y * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    for (long long row = blockIdx.x * (long long)blockDim.y + threadIdx.y; row < rows;
         row += gridDim.x * (long long)blockDim.y) {
        const T* pixel = x + row * channels;
        out[row * channels + c] = pixel[c] * setting.power(setting.scale(pixel, c));
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    local_response_norm_gradient(const T* grad, const T* x, T* out, long long rows, int channels, int low, int high,
                                 int quarters, T factor, T k, double beta) {
    extern __shared__ __align__(16) char memory[];
    const Setting setting = {channels, low, high, quarters, factor, k, beta};
    const int room = blockDim.x + low + high, first = blockIdx.y * blockDim.x, c = first + threadIdx.x;
    T* shares = (T*)memory + threadIdx.y * room;
    for (long long base = blockIdx.x * (long long)blockDim.y; base < rows; base += gridDim.x * (long long)blockDim.y) {
        const long long row = base + threadIdx.y;
        const T* pixel = x + row * channels;
        for (int i = threadIdx.x; i < room; i += blockDim.x) {
            const int other = first + i - high;
            T share = 0;
            if (row < rows && other >= 0 && other < channels) {
                const T scale = setting.scale(pixel, other);
                share = grad[row * channels + other] * setting.power(scale) * (pixel[other] / scale * LIFT);
            }
            shares[i] = share;
        }
        __syncthreads();
        if (row < rows && c < channels) {
            T total = 0;
            for (int i = 0; i <= low + high; ++i) total += shares[threadIdx.x + i];
            const T own = grad[row * channels + c] * setting.power(setting.scale(pixel, c));
            out[row * channels + c] = own - pixel[c] * total * ((T)(2 * beta) * factor / LIFT);
        }
        __syncthreads();
    }
}
