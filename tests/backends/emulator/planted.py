"""Bugs for the tests of the tests: a line of a production kernel, replaced before it is compiled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """One mistake.

    Attributes
    ----------
    file : str
        Source or header in kernels/cuda.
    right, wrong : str
        Text that stands there once, and what replaces it.
    op, case, dtype : str
        The case of the contract that must fail.
    """

    name: str
    file: str
    right: str
    wrong: str
    op: str
    case: str
    dtype: str = "float32"


SIMPLE = [
    Bug(
        "no barrier between the halves of a sum",
        "rows.cuh",
        "own[half * blockDim.x].lane[k];\n        }\n        __syncthreads();",
        "own[half * blockDim.x].lane[k];\n        }",
        "sum_rows",
        "ragged",
    ),
    Bug(
        "no barrier before the first half of a sum",
        "rows.cuh",
        "*own = mine;\n    __syncthreads();",
        "*own = mine;",
        "batch_norm",
        "ragged",
    ),
    Bug(
        "no barrier after a sum, whose memory is used again",
        "rows.cuh",
        "total = shared[threadIdx.x];\n    __syncthreads();",
        "total = shared[threadIdx.x];",
        "batch_norm",
        "long",
    ),
    Bug(
        "no barrier behind the one thread that computes for all",
        "optimizer.cu",
        "    __syncthreads();\n",
        "",
        "update",
        "adam-later",
    ),
    Bug(
        "sum in the order in which threads arrive",
        "counted.cuh",
        "shared[threadIdx.x] = total;\n    __syncthreads();",
        "if (threadIdx.x == 0) shared[0] = 0;\n    __syncthreads();\n    atomicAdd(shared, total);\n"
        "    __syncthreads();\n    return shared[0];",
        "loss_and_grad",
        "softmax_cross_entropy-ten-classes",
        "float64",
    ),
    Bug(
        "one element too many at the end of an array",
        "map.cuh",
        "i < n; i += step",
        "i <= n; i += step",
        "fill",
        "above-tile",
    ),
    Bug(
        "tail begins at the wrong element",
        "map.cuh",
        "i = whole + first",
        "i = whole + 1 + first",
        "add",
        "map",
    ),
    Bug(
        "window reaches one cell too far into the padding",
        "pixels.cuh",
        "last < size ? kernel",
        "last <= size ? kernel",
        "max_pool2d",
        "3x3-stride2-pad1",
    ),
    Bug(
        "one window too few covers a cell",
        "pixels.cuh",
        "place / stride + 1",
        "place / stride",
        "avg_pool2d_backward",
        "2x2-c64-count-pad",
    ),
    Bug(
        "last of equal cells wins",
        "max_pool.cu",
        "v > b ||",
        "v >= b ||",
        "max_pool2d",
        "2x2-c17-odd-ties",
    ),
    Bug(
        "a number wins over NaN",
        "max_pool.cu",
        "(v != v && b == b)",
        "(b != b)",
        "max_pool2d",
        "2x2-c17-odd-special",
    ),
    Bug(
        "padding counts behind the map alone",
        "avg_pool.cu",
        "start > -low ? start : -low",
        "start > 0 ? start : 0",
        "avg_pool2d",
        "pad-asymmetric-count-pad",
    ),
    Bug(
        "carry of the column forgotten",
        "pixels.cuh",
        "            ++row;\n",
        "",
        "max_pool2d",
        "3x3-stride1",
    ),
    Bug(
        "the last part counts as a whole one",
        "batch_norm.cu",
        "total += count * means",
        "total += part_rows * means",
        "batch_norm",
        "ragged",
    ),
    Bug(
        "distances from zero, not from a value of the channel",
        "batch_norm.cu",
        "centre = load<T, W>(x + start * channels + c);",
        "",
        "batch_norm",
        "far-from-zero",
    ),
    Bug(
        "last step of a warp's sum forgotten",
        "warps.cuh",
        "for (int distance = WARP / 2; distance > 0; distance /= 2) value",
        "for (int distance = WARP / 2; distance > 1; distance /= 2) value",
        "loss_and_grad",
        "softmax_cross_entropy-ragged",
    ),
    Bug(
        "last of equal logits wins",
        "metrics.cu",
        "equal && k < j",
        "equal && k > j",
        "count_correct",
        "ties",
    ),
    Bug("nine rounds of Philox", "philox.cuh", "round < 10", "round < 9", "dropout", "half"),
    Bug(
        "the upper word of the counter forgotten",
        "philox.cuh",
        "c1 = (unsigned)(block >> 32), c2 = stream",
        "c1 = 0, c2 = stream + (unsigned)(block >> 2)",
        "dropout",
        "third",
    ),
    Bug("mirrored one pixel off", "augment.cu", "width - 1 - w", "width - w", "augment", "cifar"),
    Bug(
        "reflected with the border repeated",
        "transform.cu",
        "2 * size - 2 - place",
        "2 * size - 1 - place",
        "transform_images",
        "reflected",
    ),
    Bug(
        "samples weighted by the wrong neighbour",
        "transform.cu",
        "(T(1) - down) * upper + down * lower",
        "down * upper + (T(1) - down) * lower",
        "transform_images",
        "resampled",
    ),
    Bug(
        "the last warp's gray forgotten",
        "transform.cu",
        "i < THREADS / WARP; ++i) total",
        "i + 1 < THREADS / WARP; ++i) total",
        "transform_images",
        "coloured-many-pixels",
    ),
    Bug(
        "the partner drawn with the changes of the image itself",
        "transform.cu",
        "changes + source * COLUMNS",
        "changes + b * COLUMNS",
        "transform_images",
        "mixed-moved",
    ),
    Bug(
        "momentum applied before the step is taken",
        "optimizer.cu",
        "g + momentum * v",
        "g + v",
        "update",
        "sgd-nesterov",
    ),
    Bug(
        "channels of the shortcut shifted",
        "move.cu",
        "c = k - s.before",
        "c = k - s.before + W",
        "subsample_pad",
        "odd",
    ),
]


TENSOR = [
    Bug(
        "no barrier between the buffers of a product",
        "conv2d_gather.cu",
        "        __syncthreads();  // this buffer has landed for all, and the next to fill has been read by all\n"
        "        depths.load(",
        "        depths.load(",
        "conv2d",
        "3x3-c65-k96-3x3",
    ),
    Bug(
        "waits for one copy too few",
        "conv2d_gather.cu",
        "cp_async_wait<STAGES - 2>();",
        "cp_async_wait<STAGES - 1>();",
        "conv2d",
        "3x3-c65-k96-3x3",
    ),
    Bug(
        "fills the buffer that is being read",
        "conv2d_gather.cu",
        "depth < STAGES - 1; ++depth) depths.load(",
        "depth < STAGES; ++depth) depths.load(",
        "conv2d",
        "3x3-c65-k96-3x3",
    ),
    Bug(
        "registers of a fragment exchanged",
        "tile.cuh",
        "multiply_add(acc[m][n + 1], a_parts[m], b_parts + 2);",
        "multiply_add(acc[m][n + 1], a_parts[m], b_parts + 1);",
        "conv2d",
        "3x3-c64-k64-4x4",
    ),
    Bug(
        "halves of a fragment's rows exchanged",
        "tile.cuh",
        "row + lane / 16 * 8 + lane % 8, lane / 8 % 2)",
        "row + lane / 16 * 8 + lane % 8, lane / 16)",
        "dense",
        "ragged",
    ),
    Bug(
        "pieces of a row placed by another rule than they are read",
        "tile.cuh",
        "place = place_of(row, piece);",
        "place = place_of(row, piece ^ 1);",
        "conv2d",
        "3x3-c64-k64-8x8",
    ),
    Bug(
        "one cell too many at the edge of the map",
        "taps.cuh",
        "(unsigned)cell < (unsigned)size",
        "(unsigned)cell <= (unsigned)size",
        "conv2d",
        "3x3-c16-k17-5x7",
    ),
    Bug(
        "padding one cell short", "taps.cuh", "STRIDE, -low, DILATION", "STRIDE, 1 - low, DILATION", "conv2d", "stride2"
    ),
    Bug(
        "a phase of the gradient begins at the wrong cell",
        "taps.cuh",
        "(phase + low - first * DILATION) / STRIDE,",
        "(low - first * DILATION) / STRIDE,",
        "conv2d_backward_input",
        "stride2-odd",
    ),
    Bug(
        "taps of a dilated, strided gradient too far apart",
        "taps.cuh",
        "-WEIGHT_STEP * DILATION / STRIDE",
        "-WEIGHT_STEP * DILATION",
        "conv2d_backward_input",
        "stride2",
    ),
    Bug(
        "bias of the next channel",
        "store_tile.cuh",
        "acc[m][n][i + j] += add[j];\n                    acc[m][n][i + j + 2] += add[j];",
        "acc[m][n][i + j] += add[0];\n                    acc[m][n][i + j + 2] += add[0];",
        "conv2d",
        "1x1-c64-k32",
    ),
    Bug(
        "no barrier between the buffers of a weight's gradient",
        "conv2d_weight.cu",
        "        __syncthreads();  // this buffer has landed for all, and the next to fill has been read by all\n",
        "",
        "conv2d_backward_weight",
        "3x3-c16-k16-30x30",
    ),
    Bug(
        "strip of the next image begins in the wrong row",
        "conv2d_weight.cu",
        "        row = 0;\n",
        "",
        "conv2d_backward_weight",
        "3x3-c64-k64-4x4",
    ),
    Bug(
        "neighbouring tap one cell off",
        "conv2d_weight.cu",
        "maps.tap_w * DILATION_W;\n",
        "maps.tap_w * DILATION_W + 1;\n",
        "conv2d_backward_weight",
        "3x3-c64-k64-4x4",
    ),
    Bug(
        "the last part of a sum forgotten",
        "conv2d_splits.cu",
        "split < splits; ++split",
        "split < splits - 1; ++split",
        "conv2d_backward_weight",
        "long-sums",
    ),
    Bug(
        "no barrier before the tiles are filled again",
        "conv2d_plain.cu",
        "        multiply_tiles(acc, tiles);\n        __syncthreads();",
        "        multiply_tiles(acc, tiles);",
        "conv2d",
        "strict-3x3-c64-k64-8x8",
    ),
    Bug(
        "padded cells multiplied as zeros",
        "conv2d_plain.cu",
        "if (not_finite(sums[e]))",
        "if (false)",
        "conv2d",
        "infinite",
    ),
    Bug(
        "weights of the wrong result",
        "conv2d_depthwise.cu",
        "weight[(r * KERNEL_W + s) * RESULTS + at.channel];",
        "weight[(r * KERNEL_W + s) * RESULTS + at.channel / MULTIPLIER];",
        "conv2d",
        "depthwise-multiplier2",
    ),
    Bug(
        "margin of a patch one column short",
        "conv2d_halo.cu",
        "const bool valid = n < batch &&",
        "const bool valid = column < PATCH_W - 1 && n < batch &&",
        "conv2d",
        "3x3-c16-k16-30x30",
    ),
    Bug(
        "taps of the gradient not turned round",
        "conv2d_halo.cu",
        "BACKWARD ? KERNEL_W - 1 - tap % KERNEL_W : tap % KERNEL_W",
        "tap % KERNEL_W",
        "conv2d_backward_input",
        "3x3-c64-k64-8x8",
    ),
    Bug(
        "one patch for all channels",
        "conv2d_halo.cu",
        "const int patch = block % PATCHES * PATCH_BYTES;",
        "const int patch = 0;",
        "conv2d",
        "3x3-c64-k64-8x8",
    ),
    Bug(
        "no barrier before a patch is read",
        "conv2d_halo.cu",
        "        __syncthreads();  // weights and patch have landed for all,"
        " and what is filled next has been read by all\n",
        "",
        "conv2d",
        "3x3-c64-k64-8x8",
    ),
]
