// Batches from images in memory: gather, random shift and mirror, normalise. Blocks stride over the images; each thread
// computes the image's random words itself and walks over the image's rows of width x channels elements, so writes are
// contiguous. Bound by memory: one byte read and one T written an element.
using T = ELEMENT;
#include "philox.cuh"

extern "C" __global__ void __launch_bounds__(256, 4)
    augment_images(const unsigned char* images, const long long* indices, const T* mean, const T* deviation, T* out,
                   long long batch, int height, int width, int channels, int flip, int pad, unsigned long long seed,
                   unsigned stream, unsigned step) {
    const int row_elements = width * channels;
    for (long long b = blockIdx.x; b < batch; b += gridDim.x) {
        const Words words = philox_block(b, stream, step, seed);
        const unsigned long long places = 2 * pad + 1;
        const bool mirrored = flip && words.word[0] % 2 == 1;
        const int dy = (int)(words.word[1] * places >> 32) - pad, dx = (int)(words.word[2] * places >> 32) - pad;
        const unsigned char* image = images + indices[b] * height * row_elements;
        T* target = out + b * height * row_elements;
        for (int h = threadIdx.y; h < height; h += blockDim.y) {
            const int row = h + dy;
            for (int e = threadIdx.x; e < row_elements; e += blockDim.x) {
                const int w = e / channels, c = e - w * channels;
                const int column = (mirrored ? width - 1 - w : w) + dx;
                T value = 0;
                if (row >= 0 && row < height && column >= 0 && column < width) {
                    value = image[(row * (long long)width + column) * channels + c];
                }
                target[h * (long long)row_elements + e] = (value / T(255) - mean[c]) / deviation[c];
            }
        }
    }
}
