"""Plans of the convolutions in bfloat16: where cells lie in a strip, and which taps follow each other there.

A strip is the padded input of a block of output pixels, rounded to bfloat16. With strides it has one part for each
phase (row mod stride, column mod stride), so that neighbours in the grid of outputs are neighbours in the strip for
every tap: output pixel f of the block, counted along the strip's own rows, reads cell ``f + tap``. Some f fall between
the rows of the grid; nobody reads what is computed there. At stride 1 the zeros after a row are those before the next.

Everything is decided from shapes alone, so the same shapes give the same bits on any number of threads.
"""

import functools
from typing import NamedTuple

import numpy as np

from ...vector.tile import TILE_VECTORS
from ..plan import Grid, block_pixels, forward_gathers, grid_of, joined

STEP_ELEMENTS = 32  # that are multiplied at once: the pairs in one row of a tile register
TILE_PIXELS = 32  # output pixels of a tile: two tile registers
_BLOCK_PIXELS = 512  # output pixels a task
_STRIP_BYTES = 512 * 1024  # within the L2 cache, beside a block of weights
_TASKS = 16  # at least, where the work can be divided so
_CONFLICT_BYTES = 1024  # pixels this far apart would share few sets of the L1 cache


class _Strip(NamedTuple):
    """What the kernels need besides a `Grid`."""

    pixel: int  # elements between cells of the strip
    pitch: int  # cells between its rows
    image_rows: int  # rows between its images
    tail: int  # cells after the last phase that must be zero
    strip_bytes: int
    block_images: int
    block_rows: int
    bands: int  # blocks an image
    blocks: int  # blocks of the whole batch
    splits: int  # parts of the output channels that are tasks of their own
    chunks: int  # of all runs
    scratch_bytes: int


Bf16Plan = joined("Bf16Plan", __name__, Grid, _Strip)


class Runs(NamedTuple):
    """A plan, for each run offset (cells), taps and chunks, and all taps (r, s) in the order of the runs."""

    plan: Bf16Plan
    runs: np.ndarray
    taps: np.ndarray


class Cells(NamedTuple):
    """How the input of a block of output pixels lies in a strip."""

    images: int
    rows: int  # of the grid
    pitch: int  # cells between rows
    image_rows: int  # rows between images
    phase: int  # cells between phases
    tail: int  # cells after the last phase that must be zero


def _axis(grid, stride, first, span, size):
    """Cells of a whole grid along one axis, and how many of them the next row's cells stand for."""
    more = (span - 1) // stride
    cells = grid + more
    return cells, 0 if stride > 1 else max(0, min(-first, first + cells - size, more))


def _cells(plan, pixels, cell_bytes, most_bytes):
    """Images and rows of a block: about `pixels`, less where the strip would outgrow `most_bytes`."""
    rows, row_share = _axis(plan.grid_h, plan.stride_h, plan.first_dh, plan.span_h, plan.in_h)
    cols, share = _axis(plan.grid_w, plan.stride_w, plan.first_dw, plan.span_w, plan.in_w)
    pitch = cols - share
    row_bytes = plan.stride_h * plan.stride_w * pitch * cell_bytes
    image = max(plan.grid_h * plan.grid_w, 1)
    images = 1
    if image <= pixels and rows * row_bytes <= most_bytes:
        images = max(1, min(pixels // image, most_bytes // (rows * row_bytes), plan.batch))
        images = -(-plan.batch // -(-plan.batch // images)) if plan.batch else 1
        image_rows, block_rows, tail = rows - row_share, plan.grid_h, share + row_share * pitch
    else:
        most = min(plan.grid_h, pixels // max(plan.grid_w, 1), most_bytes // row_bytes - (rows - plan.grid_h))
        block_rows = -(-plan.grid_h // -(-plan.grid_h // max(1, most)))
        image_rows, tail = rows - plan.grid_h + block_rows, share
    return Cells(images, block_rows, pitch, image_rows, images * image_rows * pitch, tail)


def _places(plan, cells, taps, offsets):
    """Return (cell from which output pixel 0 reads, tap), ascending."""
    places = []
    for tap, (dh, dw) in zip(taps, offsets, strict=True):
        dh, dw = dh - plan.first_dh, dw - plan.first_dw
        number = dh % plan.stride_h * plan.stride_w + dw % plan.stride_w
        places.append((number * cells.phase + dh // plan.stride_h * cells.pitch + dw // plan.stride_w, tap))
    return sorted(places)


def _strip_cells(plan, cells, places):
    """Cells to allocate: the last tile computes, and forgets, what lies after the last row."""
    tiled = -(-cells.phase // TILE_PIXELS) * TILE_PIXELS
    return max(cells.phase * plan.stride_h * plan.stride_w + cells.tail, (places[-1][0] if places else 0) + tiled)


def bf16_runs(gather, *, transposed):
    """Return plan and runs of a gather; `transposed` if the weight's output channels are what is summed over."""
    return _runs(gather.plan, tuple(map(tuple, gather.taps.tolist())), gather.offsets, transposed)


@functools.lru_cache(maxsize=1024)
def _runs(plan, taps, offsets, transposed):
    pixel = plan.group_in + (STEP_ELEMENTS if plan.group_in * 2 % _CONFLICT_BYTES == 0 else 0)
    # A transposed weight is packed by squares, which do not go from one tap to the next.
    joined = pixel == plan.group_in and not (transposed and plan.group_in % STEP_ELEMENTS)
    pairs = -(-plan.group_out // (TILE_VECTORS * 16))
    pixels = block_pixels(plan.batch * plan.grid_h * plan.grid_w, plan.groups * pairs, _BLOCK_PIXELS)
    cells = _cells(plan, pixels, pixel * 2, _STRIP_BYTES)
    places = _places(plan, cells, taps, offsets)
    runs = []
    for place, _ in places:
        if runs and joined and place == runs[-1][0] + runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([place, 1, 0])
    for run in runs:
        run[2] = -(-run[1] * plan.group_in // STEP_ELEMENTS)
    bands = -(-plan.grid_h // cells.rows)
    blocks = -(-plan.batch // cells.images) * bands
    splits = max(1, min(pairs, -(-_TASKS // max(plan.groups * blocks, 1))))
    strip_bytes = _round(_strip_cells(plan, cells, places) * pixel * 2 + 4 * STEP_ELEMENTS)
    tiled = -(-cells.phase // TILE_PIXELS) * TILE_PIXELS
    new = Bf16Plan(
        *grid_of(plan),
        *(pixel, cells.pitch, cells.image_rows, cells.tail, strip_bytes),
        *(cells.images, cells.rows, bands, blocks, splits, sum(run[2] for run in runs)),
        strip_bytes + _round(8 * tiled),
    )
    order = np.array([tap for _, tap in places], np.int64).reshape(-1, 2)
    return Runs(new, np.array(runs, np.int64).reshape(-1, 3), order)


def _round(count):
    """Round up to cache lines."""
    return -(-count // 64) * 64


def packed_bytes(plan):
    """Return the bytes of a weight packed for one plan: pairs for whole vectors of output channels."""
    return plan.groups * plan.chunks * -(-plan.group_out // 16) * 16 * STEP_ELEMENTS * 2


_WEIGHT_PIXELS = 1024
_WEIGHT_BLOCK_BYTES = 384 * 1024  # both operands of a block
_WEIGHT_SUMS_BYTES = 576 * 1024  # of a task, within the L2 cache too
_WEIGHT_OUT_VECTORS = 16
_PARTS_BYTES = 32 * 1024 * 1024
_SQUARE = 16  # rows and columns of sums in a tile register


class _WeightBlocks(NamedTuple):
    """What the kernels of backward-weight need besides a `Grid`; names as in `Bf16Plan`."""

    pitch: int
    image_rows: int
    tail: int
    block_images: int
    block_rows: int
    bands: int
    blocks: int
    taps: int
    block_channels: int  # input channels a task
    channel_blocks: int
    block_vectors: int  # vectors of output channels a task
    out_blocks: int
    parts: int  # of the pixels
    expanded: int  # whether each pair (tap, channel) gets a row of its own
    line: int  # elements between rows of the transposed strip
    lines: int
    chunks: int  # of 32 pixels in a block


Bf16WeightPlan = joined("Bf16WeightPlan", __name__, Grid, _WeightBlocks)


class Squares(NamedTuple):
    """A plan and, for each 16 rows of sums of a task: first element, tap and first channel; and the taps' cells."""

    plan: Bf16WeightPlan
    squares: np.ndarray
    places: np.ndarray


@functools.lru_cache(maxsize=1024)
def bf16_squares(x_shape, grad_shape, weight_shape, geometry):
    """Return plan and squares for these shapes."""
    (gather,) = forward_gathers(x_shape, weight_shape, grad_shape, geometry, 4)
    plan, taps = gather.plan, len(gather.taps)
    block_vectors = min(-(-plan.group_out // 16), _WEIGHT_OUT_VECTORS)
    expanded = plan.group_in < _SQUARE and taps > 1
    most = max(1, _WEIGHT_SUMS_BYTES // (taps * block_vectors * 1024)) * _SQUARE
    block_channels = plan.group_in if expanded else min(plan.group_in, most)
    block_channels = -(-plan.group_in // -(-plan.group_in // block_channels))
    if not expanded:
        block_channels = -(-block_channels // _SQUARE) * _SQUARE
    cells = _cells(plan, _WEIGHT_PIXELS, 2 * (block_channels + 16 * block_vectors), _WEIGHT_BLOCK_BYTES)
    places = _places(plan, cells, tuple(map(tuple, gather.taps.tolist())), gather.offsets)
    places.sort(key=lambda place: place[1])
    row = _round(_strip_cells(plan, cells, sorted(places)) + 2 * STEP_ELEMENTS) + STEP_ELEMENTS  # odd in cache lines
    rows = -(-block_channels // _SQUARE) * _SQUARE
    if expanded:
        pairs = taps * block_channels
        squares = [((rows + first) * row, 0, first) for first in range(0, pairs, _SQUARE)]
        rows += -(-pairs // _SQUARE) * _SQUARE
    else:
        channels = range(0, block_channels, _SQUARE)
        squares = [(c * row + place, t, c) for c in channels for t, (place, _) in enumerate(places)]
    squares += squares[-1:] * (len(squares) % 2)  # they are multiplied in pairs
    bands = -(-plan.grid_h // cells.rows)
    blocks = -(-plan.batch // cells.images) * bands
    channel_blocks, out_blocks = -(-plan.group_in // block_channels), -(-plan.group_out // (16 * block_vectors))
    parts = min(-(-_TASKS // (plan.groups * channel_blocks * out_blocks)), max(blocks, 1))
    parts = max(1, min(parts, _PARTS_BYTES // (taps * plan.group_in * plan.out_channels * 4)))
    new = Bf16WeightPlan(
        *grid_of(plan),
        *(cells.pitch, cells.image_rows, cells.tail),
        *(cells.images, cells.rows, bands, blocks, taps, block_channels, channel_blocks, block_vectors, out_blocks),
        *(parts, int(expanded), row, rows, -(-cells.phase // STEP_ELEMENTS)),
    )
    cells_of_taps = np.array([place for place, _ in places], np.int64)
    return Squares(new, np.array(squares, np.int64).reshape(-1, 3), cells_of_taps)
