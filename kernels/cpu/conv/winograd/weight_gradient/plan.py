"""The plan of Winograd's gradient of the weight: blocks of the weight and of tiles, and the register tile."""

import functools
from typing import NamedTuple

from ....runtime.cpu_caches import CACHES
from ....vector.simd import VECTOR_BYTES
from ....vector.tile import ROWS
from ..transforms import PLANES, TILE, plane_elements

# Twice as many where the sums are large, half as many where their planes then stay in the L2 cache.
_BLOCKTILES = 64
_PLANES_BYTES = CACHES.level2 // 2
_BLOCK_CHANNELS = 256  # of either side a task: repeated transforms stay below a tenth of the products
_TASKS = 8
_FEW_TASKS = 4  # where parts of the channels are tasks: each transforms the input again
# Of all parts together: each block of tiles reads and writes all its sums (128x16x16x128 to 256 channels on Zen 5:
# 20 ms with 24 of the 32 MB of L3 cache, 13 with 10).
_SUM_BYTES = max(4 * 1024**2, CACHES.level3 // 3)
# Register tiles (input channels, vectors of output channels): the one that wastes least of the channels is taken, of
# equals the first. With 16 registers 3x4 accumulators are as many as there can be, and 4x2 too few to hide the latency
# of a multiply-add (64 to 64 channels at 8x8 on Zen 3: 3x4 takes 0.80 of the time of 4x2, 0.95 of that of 6x2 at 32).
TILES = ((3, 4), (6, 2), (8, 1)) if ROWS == 6 else ((13, 2), (11, 2), (16, 1))


class WinogradWeightPlan(NamedTuple):
    """Sizes that the kernels need."""

    in_h: int
    in_w: int
    in_channels: int
    out_h: int
    out_w: int
    out_channels: int
    pad_top: int
    pad_left: int
    tile_h: int  # cells of a tile of the gradient
    tile_w: int
    tiles_h: int
    tiles_w: int
    tiles: int
    block_tiles: int
    parts: int
    block_in: int
    in_blocks: int
    block_out: int
    out_blocks: int
    tile_rows: int  # input channels and vectors of output channels of a register tile
    tile_vectors: int
    row_v: int  # elements between tiles of a plane of the input
    plane_v: int  # between planes of the input
    plane_g: int  # and of the gradient
    rows: int  # input channels of a plane of sums, whole register tiles
    padded_out: int


def _register_tile(in_channels, out_channels):
    width = VECTOR_BYTES // 4

    def padded(tile):
        return -(-in_channels // tile[0]) * tile[0] * (-(-out_channels // (tile[1] * width)) * tile[1])

    # A narrow tile reads more for each product: it must save a fifth.
    return min(TILES, key=lambda tile: padded(tile) * (1.2 if tile[1] == 1 else 1))


def _even_share(parts, blocks):
    """Return how many of `parts` to take: a power of two, and two tasks at least, so that two threads end together."""
    return max(1 << parts.bit_length() - 1 if parts else 0, 2 if blocks == 1 else 1)


@functools.lru_cache(maxsize=1024)
def winograd_weight_plan(x_shape, grad_shape, pad_top, pad_left, tile=TILE):
    """Return the plan for float32 arrays of these shapes."""
    width = VECTOR_BYTES // 4
    batch, in_h, in_w, in_channels = x_shape
    _, out_h, out_w, out_channels = grad_shape
    tile_rows, tile_vectors = _register_tile(in_channels, out_channels)
    group = tile_vectors * width
    tiles_h, tiles_w = -(-out_h // tile), -(-out_w // tile)
    tiles = batch * tiles_h * tiles_w
    in_blocks = -(-in_channels // _BLOCK_CHANNELS)
    block_in = -(-in_channels // in_blocks)
    out_blocks = -(-out_channels // _BLOCK_CHANNELS)
    if tiles <= _BLOCKTILES and in_blocks * out_blocks < _FEW_TASKS:  # one block of tiles: parts of the channels then
        out_blocks = min(-(-_FEW_TASKS // in_blocks), -(-out_channels // group))
    block_out = -(-out_channels // (out_blocks * group)) * group
    out_blocks = -(-out_channels // block_out)
    rows = -(-block_in // tile_rows) * tile_rows
    padded_out = out_blocks * block_out
    sum_bytes = PLANES * in_blocks * rows * padded_out * 4
    row_v = -(-(block_in + tile_rows) // width) * width + width
    most_tiles = _BLOCKTILES if sum_bytes < _SUM_BYTES else 2 * _BLOCKTILES
    if 1 < PLANES * (row_v + block_out) * 4 * _BLOCKTILES / _PLANES_BYTES <= 2:
        most_tiles = _BLOCKTILES // 2
    parts = -(-_TASKS // (in_blocks * out_blocks))
    parts = max(1, min(parts, _even_share(_SUM_BYTES // sum_bytes, in_blocks * out_blocks), -(-tiles // most_tiles)))
    blocks = parts * -(-tiles // (parts * most_tiles))
    block_tiles = max(2, -(-tiles // blocks))
    return WinogradWeightPlan(
        *(in_h, in_w, in_channels, out_h, out_w, out_channels, pad_top, pad_left, tile, tile),
        *(tiles_h, tiles_w, tiles),
        *(block_tiles, parts, block_in, in_blocks, block_out, out_blocks, tile_rows, tile_vectors, row_v),
        *(plane_elements(block_tiles, row_v), plane_elements(block_tiles, block_out), rows, padded_out),
    )
