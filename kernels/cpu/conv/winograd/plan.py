"""The plan of a Winograd convolution: tiles, blocks of tiles and where their planes lie.

x is (batch, in_h, in_w, in_channels), the output (batch, out_h, out_w, out_channels); the strides between tiles, planes
and blocks are `row_...`, `plane_...` and `block_...` below, in elements.
"""

import functools
import math
from typing import NamedTuple

from ...vector.fixed_point import WORD_BYTES
from ...vector.simd import LINE_BYTES, STREAM_BYTES, VECTOR_BYTES
from ...vector.tile import ROWS, TILE_VECTORS
from .prepare import weight_plane
from .transforms import PATCHES, SQUARE, WIDE, plane_elements

_PLANES_BYTES = 500 * 1024  # of a block's transformed input: with products and weight within the L2 cache
_SHARED_TILES = 128  # of a block whose planes come from the L3 cache
_SHARED_WEIGHT_BYTES = 12 * 1024 * 1024  # from here on the weight is read too often in small blocks
_WIDE_WEIGHT_BYTES = 16 * 1024 * 1024  # of wide tiles (128x8x8x256 to 256: 4.8 ms, with tiles of 4x4 5.3)
_TASKS = 16  # at least, where the work can be divided so
_FEW_TASKS = 8  # at least, where each of them reads all planes of its tiles and a part of a weight that others read


class WinogradPlan(NamedTuple):
    """Sizes that the kernels need."""

    in_h: int
    in_w: int
    in_channels: int
    out_h: int
    out_w: int
    out_channels: int
    pad_top: int
    pad_left: int
    tile_h: int  # outputs of a tile
    tile_w: int
    patch_w: int  # inputs along a row of it
    planes: int
    tiles_h: int
    tiles_w: int
    tiles: int
    block_tiles: int
    blocks: int
    shared: int  # whether the transformed input is an array of its own
    vectors: int  # of output channels in a register tile
    splits: int  # parts of the output channels
    # Elements between tiles of a plane of the input, and of products in its place; a vector more than needed spreads
    # them over the cache.
    row_v: int
    plane_v: int  # between planes
    block_v: int  # between blocks, with what is known of each tile
    plane_m: int  # between planes of the products, in float32
    plane_u: int  # between planes of the weight
    spare: int  # and of one tile in float32, before it is rounded; 0 if it is not
    rows: int  # of a plane, whole register tiles
    stream: int  # whether the output goes past the caches


def _only_whole(x_shape, out_shape, pad_left):
    """Tell whether all wide tiles are whole, of whole vectors, with at most a column outside on either side."""
    pad_right = out_shape[2] + 2 - x_shape[2] - pad_left
    return (
        not any(n % side for n, side in zip(out_shape[1:3], WIDE, strict=True))
        and not any(c % (VECTOR_BYTES // 4) for c in (x_shape[3], out_shape[3]))
        and {pad_left, pad_right} <= {0, 1}
    )


def suits_wide(x_shape, out_shape, pad_left):
    """Tell whether a convolution in float32 can have wide tiles, and enough of them for all threads."""
    tiles = math.prod(out_shape[:3]) // math.prod(WIDE)
    weight_bytes = math.prod(PATCHES[WIDE]) * x_shape[3] * out_shape[3] * 4
    enough = tiles > (_TASKS - 1) * ROWS and weight_bytes <= _WIDE_WEIGHT_BYTES
    return enough and _only_whole(x_shape, out_shape, pad_left)


@functools.lru_cache(maxsize=1024)
def winograd_plan(x_shape, out_shape, pad_top, pad_left, tile=SQUARE, fixed=False):
    """Return the plan for these shapes in float32, with the padding before the first row and column.

    `tile` is one of SQUARE, SMALL and WIDE. If `fixed`, with products in 16-bit fixed point.
    """
    width, planes = VECTOR_BYTES // 4, math.prod(PATCHES[tile])
    size = WORD_BYTES if fixed else 4
    batch, in_h, in_w, in_channels = x_shape
    _, out_h, out_w, out_channels = out_shape
    tiles_h, tiles_w = -(-out_h // tile[0]), -(-out_w // tile[1])
    tiles = batch * tiles_h * tiles_w
    vectors = min(TILE_VECTORS, -(-out_channels // width))
    groups = -(-out_channels // (vectors * width))
    line = VECTOR_BYTES // size
    in_place = tile == WIDE  # products take the place of the planes
    row_v = -(-max(in_channels, groups * vectors * width if in_place else 0) // line) * line + line
    if in_place and not _only_whole(x_shape, out_shape, pad_left):
        raise ValueError(f"weight: prepared for tiles of 4x8; got a convolution of {x_shape} to {out_shape}")
    tile_bytes = planes * (row_v * size + (vectors * VECTOR_BYTES if fixed else 0))  # of words the products count
    fitting = max(1, min(4, _PLANES_BYTES // (tile_bytes * ROWS))) * ROWS
    large = planes * in_channels * out_channels * size > _SHARED_WEIGHT_BYTES
    strips = -(-tiles // ROWS)
    # One group of output channels cannot be divided, so its tasks transform their own tiles, however large the weight.
    shared = groups > 1 and not in_place and (large or strips < _TASKS)
    if shared:
        blocks = max(-(-tiles // _SHARED_TILES), min(strips, -(-_FEW_TASKS // groups)), 1)
    else:
        blocks = max(-(-tiles // fitting), min(strips, _TASKS), 1)
    block_tiles = -(-tiles // blocks)
    if block_tiles > ROWS:
        block_tiles = -(-block_tiles // ROWS) * ROWS
    blocks = -(-tiles // block_tiles) if tiles else 0
    splits = min(groups, -(-_TASKS // blocks)) if shared and tiles else 1
    rows = -(-block_tiles // ROWS) * ROWS
    # Half a line past the caches costs more than a whole one through them (128x32x32x16 on Zen 3: 3.9 and 2.0 ms).
    lines = VECTOR_BYTES == LINE_BYTES and out_channels % width == 0
    stream = lines and batch * out_h * out_w * out_channels * 4 >= STREAM_BYTES
    plane_v = plane_elements(rows, row_v, size)
    plane_m = plane_v if in_place else rows * vectors * width
    steps = round_to_lines(rows) * 4 // size if fixed else 0
    spare = plane_elements(1, -(-in_channels // line) * line) if fixed else 0
    return WinogradPlan(
        *(in_h, in_w, in_channels, out_h, out_w, out_channels, pad_top, pad_left),
        *(*tile, PATCHES[tile][1], planes, tiles_h, tiles_w, tiles),
        *(block_tiles, blocks, int(shared), vectors, splits, row_v, plane_v),
        *((planes + in_place) * plane_v + steps, plane_m),
        *(weight_plane(in_channels, vectors, fixed), spare, rows, int(stream)),
    )


def plan_for(weights, x_shape, out_shape, pad_top, pad_left, tile=SQUARE):
    """Return the plan for a transformed weight."""
    return winograd_plan(x_shape, out_shape, pad_top, pad_left, tile, weights.itemsize == WORD_BYTES)


def round_to_lines(elements):
    """Round up to cache lines, so that no two threads share one."""
    return -(-elements // 16) * 16


def suits_fusion(x_shape, out_shape, pad_top, pad_left, tile, fixed):
    """Tell whether a convolution has tiles, and tasks that transform their own."""
    plan = winograd_plan(x_shape, out_shape, pad_top, pad_left, tile, fixed)
    return plan.tiles > 0 and not plan.shared
