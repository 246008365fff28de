// Pixels of an NHWC map, walked in equal steps by a thread: (image, row, column) move by carries, so a division happens
// once a thread and not once a pixel.

struct Pixels {
    long long number, image, step, step_image;
    int row, column, step_row, step_column, height, width;

    // The pixel of this line of threads; the step is that of all lines of the grid.
    __device__ inline Pixels(int h, int w) : height(h), width(w) {
        number = blockIdx.x * (long long)blockDim.y + threadIdx.y;
        step = gridDim.x * (long long)blockDim.y;
        split(number, image, row, column);
        split(step, step_image, step_row, step_column);
    }

    __device__ inline void split(long long pixel, long long& n, int& h, int& w) const {
        const long long line = pixel / width;
        w = (int)(pixel - line * width);
        n = line / height;
        h = (int)(line - n * height);
    }

    __device__ inline void advance() {
        number += step;
        column += step_column;
        row += step_row;
        image += step_image;
        if (column >= width) {
            column -= width;
            ++row;
        }
        if (row >= height) {
            row -= height;
            ++image;
        }
    }
};

// Cells of one window along an axis: k from `begin` to `end` - 1, at start + k * dilation, lie inside the map.
struct Window {
    int start, begin, end;
    __device__ inline Window(int window, int kernel, int stride, int low, int dilation, int size) {
        start = window * stride - low;
        begin = start >= 0 ? 0 : (dilation - 1 - start) / dilation;
        const int last = start + (kernel - 1) * dilation;
        end = last < size ? kernel : (size - start + dilation - 1) / dilation;
        if (end < begin) end = begin;
    }
};

// Windows along an axis that may cover a cell, ascending from `begin` to `end` - 1; `tap` says which of their cells it
// is.
struct Windows {
    int place, begin, end, stride, dilation;
    __device__ inline Windows(int cell, int kernel, int step, int low, int dilate, int windows) {
        place = cell + low;
        stride = step;
        dilation = dilate;
        const int first = place - (kernel - 1) * dilation;
        begin = first <= 0 ? 0 : (first + stride - 1) / stride;
        end = place / stride + 1;
        if (end > windows) end = windows;
    }
    // -1 where the dilation leaves the cell out.
    __device__ inline int tap(int window) const {
        const int distance = place - window * stride;
        if (dilation == 1) return distance;
        return distance % dilation == 0 ? distance / dilation : -1;
    }
};
