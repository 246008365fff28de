"""Plans of the direct convolution: which taps, in which order, in blocks of which size.

Forward, backward-input and dense are one problem here, a sum over taps into a grid of output pixels:

    y[n, oh(i), ow(j), k] = bias[k] + sum over taps t, channels c of x[n, i * stride_h + dh[t], j * stride_w + dw[t], c]
    * W[t, c, k]

with ``oh(i) = row + i * row_step`` and the same for columns. Forward has one grid over all of `y`. Backward-input has
one grid for each phase (h mod stride_h, w mod stride_w) of its output, with the taps that reach that phase, so that
nothing is multiplied by the zeros between strided outputs.

Everything is decided from shapes alone, so the same shapes give the same bits on any number of threads.
"""

import functools
from collections import namedtuple
from typing import NamedTuple

import numpy as np

from ..vector.simd import VECTOR_BYTES
from ..vector.tile import ROWS, TILE_VECTORS

_WEIGHT_BLOCK_BYTES = 256 * 1024  # of the L2 cache (1 MB): one block of weights, all taps
_L1_WAY_BYTES = 4096
_STRIP_BYTES = 256 * 1024  # and one padded strip of the input
_TASKS = 16  # at least, where the output channels can be divided so
_FEW_TASKS = 4  # at least, where blocks can be smaller: each copies rows that its neighbours copy too
_BLOCK_PIXELS, _FEW_PIXELS = 256, 64  # output pixels a task, and at least that many; multiples of 64, see ROWS


def joined(name, module, *parts):
    """Return the type of named tuples that have all fields of some others; `module` is where it is declared."""
    return namedtuple(name, [field for part in parts for field in part._fields], module=module)


class Grid(NamedTuple):
    """What plans begin with: the maps, and which output pixels are computed. All ints, as Numba takes them."""

    batch: int
    in_h: int
    in_w: int
    in_channels: int
    out_h: int
    out_w: int
    out_channels: int
    groups: int
    group_in: int
    group_out: int
    grid_h: int  # the output pixels of this plan
    grid_w: int
    row: int
    row_step: int
    col: int
    col_step: int
    stride_h: int  # input pixels between neighbours of the grid
    stride_w: int
    first_dh: int  # smallest offset of a tap
    first_dw: int


class _Blocks(NamedTuple):
    """What `conv2d_direct` needs besides."""

    span_h: int  # extent of the taps
    span_w: int
    taps: int
    run_taps: int  # taps whose channels follow each other in memory
    in_place: int  # 1: taps are read from x itself, 0: from a padded strip
    block_channels: int
    block_images: int
    block_rows: int
    bands: int  # blocks an image
    blocks: int  # blocks of the whole batch
    splits: int  # parts of the output channels that are tasks of their own
    scratch_bytes: int


GatherPlan = joined("GatherPlan", __name__, Grid, _Blocks)


def grid_of(plan):
    """Return how a plan begins."""
    return plan[: len(Grid._fields)]


class Gather(NamedTuple):
    """A plan, its taps (r, s) in order, and the offset of each run of taps from the first, in pixels of the strip.

    `offsets` are those of the taps from the output pixel, (rows, columns) of the input.
    """

    plan: GatherPlan
    taps: np.ndarray
    runs: np.ndarray
    offsets: tuple


def _axis_taps(kernel, dilation, low, stride, phase):
    """Offsets of the taps along one axis that reach a phase of backward-input, ascending: (offset, tap)."""
    reach = [(phase + low - k * dilation, k) for k in range(kernel)]
    return sorted((offset // stride, k) for offset, k in reach if offset % stride == 0)


@functools.lru_cache(maxsize=1024)
def forward_gathers(x_shape, weight_shape, out_shape, geometry, itemsize):
    """Return the only plan of a forward convolution, in a tuple."""
    axes = zip(weight_shape[:2], geometry.dilation, geometry.padding, strict=True)
    rows, cols = ([(k * dilation - low, k) for k in range(kernel)] for kernel, dilation, (low, _) in axes)
    grid = (out_shape[1], out_shape[2], 0, 1, 0, 1)
    return (_gather(x_shape, out_shape, geometry.groups, grid, geometry.stride, rows, cols, itemsize),)


@functools.lru_cache(maxsize=1024)
def backward_input_gathers(grad_shape, weight_shape, input_shape, geometry, itemsize):
    """Return the plans of the phases of backward-input; a phase that no tap reaches has a plan with no taps."""
    gathers, stride = [], geometry.stride
    (top, _), (left, _) = geometry.padding
    for row in range(min(stride[0], input_shape[1])):
        for col in range(min(stride[1], input_shape[2])):
            rows = _axis_taps(weight_shape[0], geometry.dilation[0], top, stride[0], row)
            cols = _axis_taps(weight_shape[1], geometry.dilation[1], left, stride[1], col)
            grid_h = -(-(input_shape[1] - row) // stride[0])
            grid_w = -(-(input_shape[2] - col) // stride[1])
            grid = (grid_h, grid_w, row, stride[0], col, stride[1])
            gathers.append(_gather(grad_shape, input_shape, geometry.groups, grid, (1, 1), rows, cols, itemsize))
    return tuple(gathers)


@functools.lru_cache(maxsize=1024)
def conv_output_shape(input_shape, weight_shape, geometry):
    """Return the shape of the convolution's output, of whichever way `geometry` is."""
    forward = geometry.transposed() if geometry.is_transposed else geometry
    return (input_shape[0], *forward.output_size(*input_shape[1:3]), weight_shape[3])


@functools.lru_cache(maxsize=1024)
def conv_gathers(direction, weight_shape, input_shape, geometry, itemsize):
    """Return the plans of one direction."""
    out_shape = conv_output_shape(input_shape, weight_shape, geometry)
    if direction == "forward":
        return forward_gathers(input_shape, weight_shape, out_shape, geometry, itemsize)
    return backward_input_gathers(out_shape, weight_shape, input_shape, geometry, itemsize)


def prepared_gathers(weight, x_shape, out_shape, geometry):
    """Return the plans for a prepared weight."""
    input_shape = out_shape if weight.algorithm.transposed else x_shape
    direction, array = weight.algorithm.direction, weight.weight
    return conv_gathers(direction, array.shape, input_shape, geometry, array.itemsize)


def _pairs(outputs, itemsize):
    """How many pairs of vectors, at most, the output channels of a group are."""
    return -(-outputs * itemsize // (TILE_VECTORS * VECTOR_BYTES))


def _splits(pairs, tasks):
    """Into how many parts output channels are divided where there are so many tasks without."""
    return max(1, min(pairs, _TASKS // max(tasks, 1)))


def _gather(x_shape, out_shape, groups, grid, stride, rows, cols, itemsize):
    batch, in_h, in_w, in_channels = x_shape
    grid_h, grid_w = grid[:2]
    group_in = in_channels // groups
    dh, dw = [offset for offset, _ in rows] or [0], [offset for offset, _ in cols] or [0]
    taps = [(r, s) for _, r in rows for _, s in cols]
    span_h, span_w = dh[-1] - dh[0] + 1, dw[-1] - dw[0] + 1
    block_channels = channel_block(group_in, len(taps), itemsize)
    inside = (
        dh[0] >= 0
        and dw[0] >= 0
        and (grid_h - 1) * stride[0] + dh[-1] < in_h
        and (grid_w - 1) * stride[1] + dw[-1] < in_w
    )
    neighbours = span_w == len(cols)
    one_run = groups == 1 and block_channels == in_channels and neighbours
    conflicts = in_channels * itemsize % _L1_WAY_BYTES == 0  # the rows of a tile would share one set of the L1 cache
    in_place = inside and not conflicts and (len(cols) <= 1 or one_run)
    run_taps = max(len(cols), 1) if neighbours else 1
    strip_w = in_w if in_place else (grid_w - 1) * stride[1] + span_w
    pairs = _pairs(out_shape[3] // groups, itemsize)
    pixels = block_pixels(batch * grid_h * grid_w, groups * pairs, _BLOCK_PIXELS)
    images, block_rows = _block(pixels, batch, grid_h, grid_w, stride, span_h, strip_w, block_channels * itemsize)
    bands = -(-grid_h // block_rows)
    blocks = -(-batch // images) * bands
    splits = _splits(pairs, groups * blocks)
    strip_pixels = 0 if in_place else images * ((block_rows - 1) * stride[0] + span_h) * strip_w
    tables = 2 * (images * block_rows * grid_w + ROWS) * 8
    plan = GatherPlan(
        *(batch, in_h, in_w, in_channels),
        *out_shape[1:],
        *(groups, group_in, out_shape[3] // groups),
        *grid,
        *stride,
        *(dh[0], dw[0], span_h, span_w, len(taps), run_taps, int(in_place)),
        *(block_channels, images, block_rows, bands, blocks, splits),
        tables + strip_pixels * block_channels * itemsize + 2 * VECTOR_BYTES,
    )
    run_w = cols[::run_taps] if run_taps > 1 else cols
    runs = [(oh - dh[0]) * strip_w + (ow - dw[0]) for oh, _ in rows for ow, _ in run_w]
    offsets = tuple((oh, ow) for oh, _ in rows for ow, _ in cols)
    return Gather(plan, np.array(taps, np.int64).reshape(-1, 2), np.array(runs, np.int64), offsets)


@functools.lru_cache(maxsize=1024)
def flat(plan, itemsize):
    """Return a plan in whole register tiles where each output pixel comes from one of the input; others as they are.

    Such are 1x1 convolutions and dense layers: the shape of a map says nothing there, so each pixel is an image (128
    pixels at a time would leave two rows of ten register tiles idle). Kernels in bfloat16 divide maps in their own way.
    """
    grid = plan.grid_h, plan.grid_w
    if plan.taps != 1 or (plan.in_h, plan.in_w) != grid or (plan.out_h, plan.out_w) != grid:
        return plan
    if plan.first_dh or plan.first_dw or plan.stride_h > 1 or plan.stride_w > 1:
        return plan
    pixels, images = plan.batch * grid[0] * grid[1], plan.block_images * plan.block_rows * grid[1]
    images = -(-images // ROWS) * ROWS if plan.in_place else max(images // ROWS, 1) * ROWS
    blocks = -(-pixels // images)
    strip = 0 if plan.in_place else images * plan.block_channels * itemsize
    return plan._replace(
        **dict.fromkeys(("in_h", "in_w", "out_h", "out_w", "grid_h", "grid_w", "block_rows", "bands"), 1),
        **{"batch": pixels, "block_images": images, "blocks": blocks},
        splits=_splits(_pairs(plan.group_out, itemsize), plan.groups * blocks),
        scratch_bytes=2 * (images + ROWS) * 8 + strip + 2 * VECTOR_BYTES,
    )


def channel_block(channels, taps, itemsize):
    """Input channels a block: as many as keep one block of weights within its share of the L2 cache, in equal parts."""
    lanes = VECTOR_BYTES // itemsize
    most = max(_WEIGHT_BLOCK_BYTES // (max(taps, 1) * TILE_VECTORS * VECTOR_BYTES), lanes)
    most = min(most, _L1_WAY_BYTES // 2 // itemsize - lanes)  # see `conflicts`
    blocks = -(-channels // most)
    return -(-channels // blocks)


def block_pixels(pixels, parts, most):
    """Output pixels a block, of `pixels` in all whose output channels can be divided into so many parts."""
    each = pixels * parts // _FEW_TASKS
    return min(max(-(-each // _FEW_PIXELS) * _FEW_PIXELS, _FEW_PIXELS), most)


def _block(pixels, batch, grid_h, grid_w, stride, span_h, strip_w, pixel_bytes):
    """Images and rows a block: about so many pixels, less where the strip would outgrow its share of the cache."""
    image = grid_h * grid_w

    def strip(images, rows):
        return images * ((rows - 1) * stride[0] + span_h) * strip_w * pixel_bytes

    if image <= pixels and strip(1, grid_h) <= _STRIP_BYTES:
        images = max(1, min(pixels // image, batch))
        while images > 1 and strip(images, grid_h) > _STRIP_BYTES:
            images -= 1
        return images, grid_h
    rows = max(1, min(grid_h, pixels // grid_w))
    while rows > 1 and strip(1, rows) > _STRIP_BYTES:
        rows -= 1
    bands = -(-grid_h // rows)
    return 1, -(-grid_h // bands)


def padded_width(channels, itemsize):
    """Return `channels` rounded up to whole vectors."""
    width = VECTOR_BYTES // itemsize
    return -(-channels // width) * width
