"""Weights in the order in which `conv2d_direct` reads them.

For each group, then for each block of two vectors (at the end of one) of output channels, then for each block of input
channels: ``packed[tap][input channel][vector of output channels]``, zero beyond the last channel. `element` strides
describe the source, so one kernel packs a convolution forward (output channels contiguous: copied) and backward (input
channels become the outputs, and must be contiguous in the other order: transposed in registers), and dense layers.
"""

from ..runtime.launch import device, kernel, launch
from ..vector.simd import VECTOR_BYTES, address, itemsize, lanes, vload, vload_part, vstore
from ..vector.tile import TILE_VECTORS, square_load, square_store, square_transpose
from .plan import padded_width

# Vectors of a row that a task copies: with one, each row of a large weight is visited again and again, a line at a time
# (2304x512 from memory on Zen 5: 0.6 ms, 0.3 so).
_BUNDLE = 8


def packed_size(plan, itemsize):
    """Return the number of elements that `pack` writes for one plan."""
    return plan.groups * plan.taps * plan.group_in * padded_width(plan.group_out, itemsize)


@device
def _place(vector, steps, whole):
    """Where a vector of output channels begins in the packed weight, and how many vectors a step of its block has."""
    if vector < whole // TILE_VECTORS * TILE_VECTORS:
        return vector // TILE_VECTORS * steps * TILE_VECTORS + vector % TILE_VECTORS, TILE_VECTORS
    return vector * steps, 1


@kernel
def pack_weight(begin, end, source, packed, taps, group_in, group_out, block_channels, bundle, strides):
    """One block of input channels of `bundle` vectors of output channels a task."""
    dt = source.dtype
    size = itemsize(dt)
    width = lanes(dt)
    stride_r, stride_s, stride_in, stride_out, stride_group = strides
    vectors, whole = (group_out + width - 1) // width, group_out // width
    bundles = (vectors + bundle - 1) // bundle
    chunks = (group_in + block_channels - 1) // block_channels
    steps = taps.shape[0] * group_in
    for task in range(begin, end):
        c0 = (task % chunks) * block_channels
        first = (task // chunks) % bundles * bundle
        group = task // (chunks * bundles)
        last = min(first + bundle, vectors)
        channels = min(block_channels, group_in - c0)
        for t in range(taps.shape[0]):
            place = group * stride_group + taps[t, 0] * stride_r + taps[t, 1] * stride_s
            place = address(source) + (place + c0 * stride_in + first * width * stride_out) * size
            done = c0 * taps.shape[0] + t * channels
            if stride_out == 1:
                for c in range(channels):
                    at = place + c * stride_in * size
                    for vector in range(first, last):
                        start, step = _place(vector, steps, whole)
                        target = address(packed) + (group * vectors * steps + start + (done + c) * step) * width * size
                        count = min(width, group_out - vector * width)
                        vstore(target, vload(at, dt) if count == width else vload_part(at, count, dt))
                        at += width * size
                continue
            for vector in range(first, last):
                start, step = _place(vector, steps, whole)
                target = address(packed) + (group * vectors * steps + start + done * step) * width * size
                count = min(width, group_out - vector * width)
                for c in range(0, channels, width):
                    rows = min(width, channels - c)
                    square = square_load(place + c * size, stride_out * size, count, rows, dt)
                    square_store(square_transpose(square), target, step * width * size, rows, width)
                    target += rows * step * width * size
                place += width * stride_out * size


def pack(weight, packed, gather, strides):
    """Fill `packed` for one plan; `strides` are those of (r, s, in, out, group) in the weight, in elements."""
    plan = gather.plan
    width = VECTOR_BYTES // weight.itemsize
    bundle = _BUNDLE if strides[3] == 1 else 1
    tasks = plan.groups * -(-plan.group_out // (width * bundle)) * -(-plan.group_in // plan.block_channels)
    if plan.taps:
        arguments = (plan.group_in, plan.group_out, plan.block_channels, bundle, strides)
        launch(pack_weight, tasks, weight, packed, gather.taps, *arguments)


def pack_strides(weight, direction, groups):
    """Strides of (r, s, reduced channel, produced channel, group) in a HWIO weight, in elements."""
    _, s, c, k = weight.shape
    if direction == "forward":
        return s * c * k, c * k, k, 1, k // groups
    return s * c * k, c * k, 1, k, k // groups


def pack_gathers(weight, gathers, strides, workspace):
    """Return the weight packed for all plans of a convolution, one after the other."""
    sizes = [packed_size(gather.plan, weight.itemsize) for gather in gathers]
    packed, start = workspace.empty((sum(sizes),), weight.dtype), 0
    for gather, size in zip(gathers, sizes, strict=True):
        pack(weight, packed[start : start + size], gather, strides)
        start += size
    return packed
