"""Weights of the Winograd convolution: U = G g G^T, in the order in which the products read them.

Bound by memory: a read of the weight and a write of four times as much.
"""

from .gather import TILE_VECTORS
from .launch import device, kernel, launch
from .simd import VECTOR_BYTES, address, itemsize, lanes, vload, vload_part, vsplat, vstore
from .winograd_transforms import PLANES, plane_elements, store_six, weight_row


def winograd_size(in_channels, out_channels):
    """Return the elements of a transformed weight."""
    vectors, groups = weight_groups(out_channels)
    return PLANES * groups * weight_plane(in_channels, vectors)


def weight_plane(in_channels, vectors):
    """Return the elements from plane to plane of a group of `vectors` vectors of output channels."""
    return plane_elements(in_channels, vectors * VECTOR_BYTES // 4)


def weight_groups(out_channels):
    """Return the vectors of a register tile and the number of such groups of output channels."""
    width = VECTOR_BYTES // 4
    vectors = min(TILE_VECTORS, -(-out_channels // width))
    return vectors, -(-out_channels // (vectors * width))


@kernel
def transform_weight(begin, end, source, weights, in_channels, out_channels, vectors, groups, packed):
    """U = G g G^T into [group][plane][input channel][vectors of the group].

    `source` is the weight itself, (3, 3, in, out), or what pack.py makes of a turned one.
    """
    dt = source.dtype
    size = itemsize(dt)
    width = lanes(dt)
    there = (out_channels + width - 1) // width
    paired = out_channels // (width * TILE_VECTORS) * TILE_VECTORS  # as pack.py: whole pairs of whole vectors
    plane_bytes = weights.size // (groups * PLANES) * size
    for task in range(begin, end):  # one vector of output channels, all input channels
        group, v = task // vectors, task % vectors
        target = address(weights) + group * PLANES * plane_bytes + v * width * size
        if task >= there:  # the last group's missing partner must not hold anything
            for plane in range(PLANES):
                for c in range(in_channels):
                    vstore(target + plane * plane_bytes + c * vectors * width * size, vsplat(0, dt))
            continue
        first, step, count = address(source) + task * width * size, out_channels * size, out_channels - task * width
        if packed:
            per_block = 1 if task >= paired else TILE_VECTORS
            step, count = per_block * width * size, width
            first = address(source) + ((task - task % per_block) * 9 * in_channels + task % per_block) * width * size
        tap = in_channels * step
        for c in range(in_channels):
            g = first + c * step
            a = _weight_column(g, tap, count, dt)
            b = _weight_column(g + tap, tap, count, dt)
            e = _weight_column(g + 2 * tap, tap, count, dt)
            place = target + c * vectors * width * size
            store_six(place, plane_bytes, weight_row(a[0], b[0], e[0], dt))
            store_six(place + 6 * plane_bytes, plane_bytes, weight_row(a[1], b[1], e[1], dt))
            store_six(place + 12 * plane_bytes, plane_bytes, weight_row(a[2], b[2], e[2], dt))
            store_six(place + 18 * plane_bytes, plane_bytes, weight_row(a[3], b[3], e[3], dt))
            store_six(place + 24 * plane_bytes, plane_bytes, weight_row(a[4], b[4], e[4], dt))
            store_six(place + 30 * plane_bytes, plane_bytes, weight_row(a[5], b[5], e[5], dt))


@device
def _weight_column(place, tap, count, dt):
    """G g for one column of a kernel of `count` channels."""
    if count >= lanes(dt):
        return weight_row(vload(place, dt), vload(place + 3 * tap, dt), vload(place + 6 * tap, dt), dt)
    return weight_row(
        vload_part(place, count, dt),
        vload_part(place + 3 * tap, count, dt),
        vload_part(place + 6 * tap, count, dt),
        dt,
    )


def prepare(source, in_channels, out_channels, workspace, *, packed):
    """Return the transformed weight, from the weight itself or from a turned one packed as a single block."""
    vectors, groups = weight_groups(out_channels)
    weights = workspace.empty((winograd_size(in_channels, out_channels),), source.dtype)
    flat = source.reshape(-1)
    launch(transform_weight, vectors * groups, flat, weights, in_channels, out_channels, vectors, groups, packed)
    return weights
