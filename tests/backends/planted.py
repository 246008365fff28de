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
        "conv2d_backward_bias",
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
        "adam_step",
        "later",
    ),
    Bug(
        "sum in the order in which threads arrive",
        "softmax.cu",
        "shared[threadIdx.x] = total;\n    __syncthreads();",
        "if (threadIdx.x == 0) shared[0] = 0;\n    __syncthreads();\n    atomicAdd(shared, total);\n"
        "    __syncthreads();\n    if (threadIdx.x == 0) *loss = rows ? (T)(shared[0] / rows) : T(0);\n    return;",
        "softmax_cross_entropy",
        "ten-classes",
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
        "centre = load<T, W>(x + part.first * channels + c);",
        "",
        "batch_norm",
        "far-from-zero",
    ),
    Bug(
        "last step of a warp's sum forgotten",
        "softmax.cu",
        "for (int distance = WARP / 2; distance > 0; distance /= 2) value",
        "for (int distance = WARP / 2; distance > 1; distance /= 2) value",
        "softmax_cross_entropy",
        "ragged",
    ),
    Bug(
        "last of equal logits wins",
        "softmax.cu",
        "equal && other < best",
        "equal && other > best",
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
        "momentum applied before the step is taken", "optimizer.cu", "g + momentum * v", "g + v", "sgd_step", "nesterov"
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
