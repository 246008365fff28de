// Batches from images in memory, each changed by numbers of its own (common/transforms.cuh): shift, mirror, bilinear
// resampling, colour, normalisation, an erased window, and a window of another image of the batch mixed in. Blocks
// stride over the images, threads over their pixels; a change of contrast is a second walk, for the mean. Bound by
// memory where bytes are only moved (one byte read and one T written an element), else by the arithmetic of colours.
using T = ELEMENT;
#include "transforms.cuh"
#include "warps.cuh"

constexpr int THREADS = 256;

struct Image {
    const unsigned char* bytes;
    const double* change;
    int height, width, channels;
};

struct Colour {
    T r, g, b;
};

// Where in the image the pixel lies that is at `place` after the shift; -1 where there is none.
__device__ inline int shifted(int place, int shift, int size, bool reflected) {
    place += shift;
    if (place >= 0 && place < size) return place;
    if (!reflected) return -1;
    return place < 0 ? -place : 2 * size - 2 - place;
}

// The byte at a pixel of the shifted and mirrored image; 0 outside of it.
__device__ inline T moved_byte(const Image& image, int y, int x, int c) {
    if (y < 0 || y >= image.height || x < 0 || x >= image.width) return 0;
    const double* change = image.change;
    const bool reflected = change[REFLECTED] != 0;
    const int place = change[MIRRORED] != 0 ? image.width - 1 - x : x;
    const int row = shifted(y, (int)change[SHIFT_Y], image.height, reflected);
    const int column = shifted(place, (int)change[SHIFT_X], image.width, reflected);
    if (row < 0 || column < 0) return 0;
    return image.bytes[(row * (long long)image.width + column) * image.channels + c];
}

// The value from 0 to 1 that a pixel has before colours change.
__device__ inline T sample(const Image& image, int y, int x, int c) {
    const double* change = image.change;
    if (change[RESAMPLED] == 0) return moved_byte(image, y, x, c) / T(255);
    const double at_y = change[YY] * y + change[YX] * x + change[Y0];
    const double at_x = change[XY] * y + change[XX] * x + change[X0];
    if (!(at_y > -1 && at_y < image.height && at_x > -1 && at_x < image.width)) return 0;
    const int row = (int)floor(at_y), column = (int)floor(at_x);
    const T down = (T)(at_y - row), right = (T)(at_x - column);
    const T upper = (T(1) - right) * moved_byte(image, row, column, c) + right * moved_byte(image, row, column + 1, c);
    const T lower =
        (T(1) - right) * moved_byte(image, row + 1, column, c) + right * moved_byte(image, row + 1, column + 1, c);
    return ((T(1) - down) * upper + down * lower) / T(255);
}

__device__ inline T clamped(T value) { return value < T(0) ? T(0) : value > T(1) ? T(1) : value; }

__device__ inline T gray_of(const Colour& of) { return T(0.2989) * of.r + T(0.587) * of.g + T(0.114) * of.b; }

// `factor` of a colour and the rest of a gray.
__device__ inline Colour blended(const Colour& of, T factor, T gray) {
    const T other = (T(1) - factor) * gray;
    return {clamped(factor * of.r + other), clamped(factor * of.g + other), clamped(factor * of.b + other)};
}

__device__ inline T channel_of_hue(T value, T spread, T sixths) {
    sixths -= T(6) * floor(sixths / T(6));
    const T other = T(4) - sixths, least = sixths < other ? sixths : other;
    return value - spread * clamped(least);
}

// A colour whose hue is turned, by way of hue, saturation and value.
__device__ inline Colour turned(const Colour& of, T turn) {
    const T r = of.r, g = of.g, b = of.b;
    const T value = r > g ? (r > b ? r : b) : (g > b ? g : b), least = r < g ? (r < b ? r : b) : (g < b ? g : b);
    const T spread = value - least;
    if (spread == T(0)) return of;
    T sixths = value == r ? (g - b) / spread : value == g ? T(2) + (b - r) / spread : T(4) + (r - g) / spread;
    sixths += T(6) * turn;
    return {channel_of_hue(value, spread, T(5) + sixths), channel_of_hue(value, spread, T(3) + sixths),
            channel_of_hue(value, spread, T(1) + sixths)};
}

// The colour of a pixel after the functions of colour, in their order; before that of contrast if `gray` is below 0.
__device__ inline Colour coloured(const Image& image, int y, int x, T gray) {
    const double* change = image.change;
    const bool three = image.channels == 3;
    Colour now;
    now.r = sample(image, y, x, 0);
    now.g = three ? sample(image, y, x, 1) : now.r;
    now.b = three ? sample(image, y, x, 2) : now.r;
    const int order = (int)change[ORDER];
    for (int step = 0; step < 4; ++step) {
        const int function = BRIGHTNESS + (order >> (2 * step) & 3);
        const T factor = (T)change[function];
        if (function == HUE) {
            if (factor != T(0) && three) now = turned(now, factor);
        } else if (factor != T(1)) {
            if (function == CONTRAST && gray < T(0)) break;
            if (function == SATURATION && !three) continue;
            now = blended(now, factor, function == BRIGHTNESS ? T(0) : function == CONTRAST ? gray : gray_of(now));
        }
    }
    return now;
}

// The mean of the image in gray as the function of contrast finds it; every thread of the block gets it.
__device__ inline T mean_gray(const Image& image, double* sums) {
    const int thread = threadIdx.x, pixels = image.height * image.width;
    double sum = 0;
    for (int i = thread; i < pixels; i += THREADS) {
        const Colour now = coloured(image, i / image.width, i % image.width, T(-1));
        sum += image.channels == 3 ? gray_of(now) : now.r;
    }
    sum = sum_over_warp(sum);
    __syncthreads();  // all have read the sums of the image before
    if (thread % WARP == 0) sums[thread / WARP] = sum;
    __syncthreads();
    double total = 0;
    for (int i = 0; i < THREADS / WARP; ++i) total += sums[i];
    return (T)(total / pixels);
}

// Writes a pixel of an image to `out`, where `share` of what is there stays.
__device__ inline void draw_pixel(const Image& image, const T* mean, const T* deviation, T* out, int y, int x, T gray,
                                  T share) {
    const double* change = image.change;
    const bool erased = y >= change[ERASE_TOP] && y < change[ERASE_BOTTOM] && x >= change[ERASE_LEFT] &&
                        x < change[ERASE_RIGHT];
    const bool colour = change[COLOURED] != 0 && !erased;
    Colour now = {0, 0, 0};
    if (colour) now = coloured(image, y, x, gray);
    for (int c = 0; c < image.channels; ++c) {
        T value = (T)change[ERASE_VALUE];
        if (!erased) {
            value = !colour ? sample(image, y, x, c) : c == 0 ? now.r : c == 1 ? now.g : now.b;
            value = (value - mean[c]) / deviation[c];
        }
        out[c] = share == T(0) ? value : share * out[c] + (T(1) - share) * value;
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    transform_each(const unsigned char* images, const long long* indices, const double* changes, const T* mean,
                   const T* deviation, T* out, long long batch, int height, int width, int channels) {
    __shared__ double sums[THREADS / WARP];
    const long long size = height * (long long)width * channels;
    for (long long b = blockIdx.x; b < batch; b += gridDim.x) {
        const double* own = changes + b * COLUMNS;
        for (int turn = 0; turn < 2; ++turn) {  // the image itself, then the one that is mixed in
            if (turn == 1 && own[MIX_BOTTOM] <= own[MIX_TOP]) break;
            const long long source = turn == 1 ? (long long)own[PARTNER] : b;
            const Image image = {images + indices[source] * size, changes + source * COLUMNS, height, width, channels};
            const T share = turn == 1 ? (T)own[MIX_SHARE] : T(0);
            T gray = 0;
            if (image.change[COLOURED] != 0 && image.change[CONTRAST] != 1) gray = mean_gray(image, sums);
            for (int i = threadIdx.x; i < height * width; i += THREADS) {  // a pixel has the same thread both times
                const int y = i / width, x = i - y * width;
                const bool inside = turn == 0 || (y >= own[MIX_TOP] && y < own[MIX_BOTTOM] && x >= own[MIX_LEFT] &&
                                                  x < own[MIX_RIGHT]);
                T* place = out + b * size + i * (long long)channels;
                if (inside) draw_pixel(image, mean, deviation, place, y, x, gray, share);
            }
        }
    }
}
