"""Winograd convolution with wide tiles, F(4x8, 3x3): as blocks.py, but plane by plane and in place.

The 60 planes of 13 tiles and 128 channels, their products and the weight of one group of output channels are larger
than the L2 cache. So each plane is multiplied with the weights of all groups at once, while it is in the L1 cache, and
the products take the place of the plane before it, which is no longer needed: planes and products pass through the L2
cache once (forward of 128x16x16x128 on Zen 5: 5.35 ms group by group, 5.1 so). With tiles of 4x4, of which most are
fused, a step of ResNet-9 took 1 % longer so, in "fast" precision 3 %.

Meanwhile 60 planes of weights pass through the L2 cache, and most products leave it. Those of a tile lie side by side,
all output channels, and are transformed back in this order, so that each vector asks for the lines of the next one:
0.50 to 0.34 ms of the 5.1.
"""

import math

from ...runtime.launch import device
from ...vector.prefetch import AHEAD_BYTES
from ...vector.simd import LINE_BYTES, VECTOR_BYTES, address, itemsize, lanes
from .blocks import Input, Products, clear_zeros, groups_of, make_multiply_floats
from .prefetch import prefetches
from .transforms import PATCHES, WIDE, Planes, patch_rows
from .walk import make_walk
from .wide_transforms import prefetch_wide_patch, transform_wide_patch

_PLANES = math.prod(PATCHES[WIDE])
_VECTORS = 2  # of output channels in a register tile
_AHEAD_BYTES = 4 * AHEAD_BYTES  # of a weight from the L3 cache (products 4.05 to 3.95 ms)


@device
def _transform_input(tile, job, plan, state, dt):
    stored = job.x.dtype
    stored_size, width = itemsize(stored), lanes(dt)
    pixel_bytes = plan.in_channels * stored_size
    row_bytes = plan.in_w * pixel_bytes
    h, w = tile.i * plan.tile_h - plan.pad_top, tile.j * plan.tile_w - plan.pad_left
    start = address(job.x) + ((tile.image * plan.in_h + h) * plan.in_w + w) * pixel_bytes
    counts = width if w >= 0 else 0, width if w + plan.patch_w <= plan.in_w else 0
    rows = patch_rows(start, h, row_bytes, job.zeros, plan.in_h)
    target = job.planes.address + tile.number * plan.row_v * itemsize(dt)
    for c in range(0, plan.in_channels, width):
        shift = c * stored_size
        if shift % LINE_BYTES == 0:
            prefetch_wide_patch(start + shift, row_bytes, pixel_bytes)
        planes = Planes(target + c * itemsize(dt), job.planes.step)
        transform_wide_patch(rows, shift, counts, pixel_bytes, planes, stored, dt)
    return state


_walk_inputs = make_walk(_transform_input)


def make_convolve_wide(transform, *, in_turns=False):
    """Make the loop over blocks of wide tiles; `transform` is that of `make_groups`.

    The vectors of a tile take turns or, by default, the tiles of a vector (with pooling, 128x32x32x64 to 128 on Zen 5:
    12.4 ms, the other way 13.2).
    """
    multiply = make_multiply_floats(_VECTORS, ahead_bytes=_AHEAD_BYTES, in_place=True)

    @device
    def convolve_blocks(tasks, scratch, source, weights, epilogue, wanted, plan):
        """Compute the blocks from the first to the one before the last of `tasks`."""
        dt, size = scratch.dtype, itemsize(weights.dtype)
        plane_bytes, plane_u, row_bytes = plan.plane_v * size, plan.plane_u * size, plan.row_v * size
        products = address(scratch)
        values = products + plane_bytes
        zeros = products + plan.block_v * size
        groups, vectors = groups_of(plan, dt), plan.out_channels // lanes(dt)
        clear_zeros(zeros, plan, dt)
        for block in range(tasks[0], tasks[1]):
            first = block * plan.block_tiles
            tiles = min(plan.block_tiles, plan.tiles - first)
            job = Input(source, zeros, Planes(values, plane_bytes), 0, plan.in_channels)
            _walk_inputs(first, tiles, job, plan, 0, dt)
            ahead = prefetches(wanted, block, groups, plan)
            for plane in range(_PLANES):
                place, shift = address(weights) + plane * plane_u, plane * plane_bytes
                for group in range(groups):
                    target = products + shift + group * _VECTORS * VECTOR_BYTES
                    ahead = multiply(values + shift, place, target, tiles, ahead, plan, dt)
                    place += _PLANES * plane_u
            together = 1 if in_turns else tiles
            for t in range(0, tiles, together):
                for vector in range(vectors):
                    place, channel = products + t * row_bytes + vector * VECTOR_BYTES, vector * lanes(dt)
                    part = Products(place, row_bytes, block, first + t, together, channel, t == 0)
                    transform(part, epilogue, plan, dt)

    return convolve_blocks
