"""Weights in the order in which `conv2d_direct` reads them.

For each group, then for each block of two vectors (at the end of one) of output channels, then for each block of input
channels: ``packed[tap][input channel][vector of output channels]``, zero beyond the last channel. `element` strides
describe the source, so one kernel packs a convolution forward (output channels contiguous: copied) and backward (input
channels become the outputs, and must be contiguous in the other order: transposed in registers), and dense layers.
"""

from typing import NamedTuple

import numpy as np

from .gather import TILE_VECTORS
from .launch import kernel, launch
from .simd import VECTOR_BYTES, address, itemsize, lanes, vload, vload_part, vstore
from .tile import square_load, square_store, square_transpose


class Prepared(NamedTuple):
    """A weight with its packed form, as the backends keep it."""

    weight: np.ndarray
    algorithm: str
    packed: np.ndarray


def padded_width(channels, itemsize):
    """Return `channels` rounded up to whole vectors."""
    width = VECTOR_BYTES // itemsize
    return -(-channels // width) * width


def packed_size(plan, itemsize):
    """Return the number of elements that `pack` writes for one plan."""
    return plan.groups * plan.taps * plan.group_in * padded_width(plan.group_out, itemsize)


@kernel
def pack_weight(begin, end, source, packed, taps, group_in, group_out, block_channels, strides):
    """One block of input channels of one vector of output channels a task."""
    dt = source.dtype
    size = itemsize(dt)
    width = lanes(dt)
    stride_r, stride_s, stride_in, stride_out, stride_group = strides
    vectors = (group_out + width - 1) // width
    pairs = group_out // (width * TILE_VECTORS)
    chunks = (group_in + block_channels - 1) // block_channels
    steps = taps.shape[0] * group_in
    for task in range(begin, end):  # one block of input channels of one vector of outputs
        c0 = (task % chunks) * block_channels
        vector = (task // chunks) % vectors
        group = task // (chunks * vectors)
        channels = min(block_channels, group_in - c0)
        paired = vector < pairs * TILE_VECTORS
        per_block = TILE_VECTORS if paired else 1
        block = vector // TILE_VECTORS if paired else vector
        block_start = block * steps * TILE_VECTORS if paired else vector * steps
        start = group * vectors * steps + block_start + c0 * taps.shape[0] * per_block
        start += vector % TILE_VECTORS if paired else 0
        target = address(packed) + start * width * size
        k0 = vector * width
        count = min(width, group_out - k0)
        for t in range(taps.shape[0]):
            place = group * stride_group + taps[t, 0] * stride_r + taps[t, 1] * stride_s
            place = address(source) + (place + c0 * stride_in + k0 * stride_out) * size
            if stride_out == 1:
                for c in range(channels):
                    at = place + c * stride_in * size
                    vstore(target, vload(at, dt) if count == width else vload_part(at, count, dt))
                    target += per_block * width * size
            else:
                for c in range(0, channels, width):
                    rows = min(width, channels - c)
                    square = square_load(place + c * size, stride_out * size, count, rows, dt)
                    square_store(square_transpose(square), target, per_block * width * size, rows, width)
                    target += rows * per_block * width * size


def pack(weight, packed, gather, strides):
    """Fill `packed` for one plan; `strides` are those of (r, s, in, out, group) in the weight, in elements."""
    plan = gather.plan
    width = VECTOR_BYTES // weight.itemsize
    tasks = plan.groups * -(-plan.group_out // width) * -(-plan.group_in // plan.block_channels)
    if plan.taps:
        arguments = (plan.group_in, plan.group_out, plan.block_channels, strides)
        launch(pack_weight, tasks, weight, packed, gather.taps, *arguments)
