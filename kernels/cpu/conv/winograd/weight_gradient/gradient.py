"""Winograd gradient of the weight, F(3x3, 4x4) and F(5x5, 2x2): 3x3 and 5x5 kernels with stride 1, in float32.

The gradient is a correlation of the input with tiles of the output's gradient, 4x4 or 2x2, so the roles of Lavin and
Gray's transforms turn:

    grad_weight = G^T [ sum over tiles (B^T d B) * (A g A^T) ] G

with the input's patches d (6x6) transformed as for the convolution, the gradient's tiles g to 36 planes by A, and the
sum over tiles a matrix product for each plane, (input channel) x (output channel).

x is (batch, in_h, in_w, in_channels), grad (batch, out_h, out_w, out_channels), the gradient of the weight
(R, S, in_channels, out_channels); planes are [plane][tile][input channel] and
[plane][group of output channels][tile][channel of the group], sums [part][plane][input channel][output channel].

A task owns a block of input channels, a block of output channels and a part of the tiles; parts are added in order by
the kernel that transforms back. Gradients beyond an edge of the map count as zero.

Cost: a quarter of the direct flops in the products; the sums of a plane are read and written once for each block of
tiles.
"""

from typing import NamedTuple

import numpy as np

from ....runtime.launch import device, get_num_threads, kernel, launch
from ....vector.fixed_point import FIXED, WORD_BYTES
from ....vector.prefetch import share_of_lines
from ....vector.simd import LINE_BYTES, VECTOR_BYTES, address, itemsize, lanes, vfma, vload, vsplat, vstore, vstore_part
from ...algorithms import SMALL
from ..blocks import Input, walk_inputs
from ..output import check_four, clear_checks, keep_check
from ..transforms import (
    PATCH,
    PLANES,
    SMALL_TILE,
    TILE,
    Planes,
    map_bytes,
    prefetch_block,
    small_weight_column,
    weight_column,
)
from ..walk import make_walk
from .fixed_point import round_planes
from .plan import TILES, winograd_weight_plan
from .products import BlockFactors, make_multiply
from .transform import GradientTile, clear_planes, gradient_planes, transform_gradient, transform_small_gradient


class GradientPart(NamedTuple):
    """What of the output's gradient is transformed: some channels of `source`, and the address of their planes."""

    source: np.ndarray
    channel: int
    gradients: int
    outs: int


def _make_transform_gradient(transform_tile):
    """Make the visit of a tile of the gradient; ``transform_tile`` takes one and a vector of channels."""

    @device
    def transform_gradient_tile(tile, job, plan, state, dt):
        grad, channel, gradients, outs = job
        stored = grad.dtype
        stored_size = itemsize(stored)
        pixel = plan.out_channels * stored_size
        row = plan.out_w * pixel
        h, w = tile.i * plan.tile_h, tile.j * plan.tile_w
        rows, cols = min(plan.tile_h, plan.out_h - h), min(plan.tile_w, plan.out_w - w)
        start = address(grad) + ((tile.image * plan.out_h + h) * plan.out_w + w) * pixel + channel * stored_size
        for k in range(0, plan.block_out, lanes(dt)):
            count = min(lanes(dt), outs - k)
            planes = gradient_planes(gradients, tile.number, k, plan, dt)
            if count > 0:
                source = start + k * stored_size
                if k * stored_size % LINE_BYTES == 0:
                    prefetch_block(source, 2 * plan.tile_h, row, pixel)
                transform_tile(GradientTile(source, row, pixel, rows, cols), planes, count, stored, dt)
            else:
                clear_planes(planes, dt)
        return state

    return transform_gradient_tile


@device
def _prefetches(x, grad, width, block, plan):
    """Where the input and the gradient begin that the next block adds, and how many lines to ask for at a time.

    Nothing where a task reads a part of the channels, which do not follow each other.
    """
    groups = plan.block_out // (plan.tile_vectors * width)
    register_tiles = groups * PLANES * ((plan.block_in + plan.tile_rows - 1) // plan.tile_rows)
    tile = map_bytes(x, plan.in_h, plan.in_w, plan.in_channels, plan)
    grad_tile = map_bytes(grad, grad.shape[1], grad.shape[2], plan.out_channels, plan)
    first = (block + 1) * plan.block_tiles
    return (
        address(x) + first * tile + plan.tile_h * plan.in_w * plan.in_channels * itemsize(x.dtype),
        share_of_lines(plan.block_tiles * tile, register_tiles) if plan.in_blocks == 1 else 0,
        address(grad) + first * grad_tile,
        share_of_lines(plan.block_tiles * grad_tile, register_tiles) if plan.out_blocks == 1 else 0,
    )


def make_products(tile, transform_tile):
    """Make the first pass for register tiles of that size; ``transform_tile`` visits the tiles of the gradient."""
    multiply_planes, multiply_fixed = (make_multiply(*tile, fixed=fixed) for fixed in (False, True))
    walk_gradients = make_walk(transform_tile)

    @device
    def products(tasks, scratch, grad, source, x, sums, plan):
        """Compute the tasks from the first to the one before the last of `tasks`."""
        dt = sums.dtype
        size = itemsize(dt)
        values = address(scratch)
        gradients = values + PLANES * plan.plane_v * size
        zeros = gradients + PLANES * plan.plane_g * size
        for c in range(0, PATCH * plan.in_channels, lanes(dt)):
            vstore(zeros + c * size, vsplat(0, dt))
        part_elements = PLANES * plan.in_blocks * plan.rows * plan.padded_out
        blocks = (plan.tiles + plan.block_tiles - 1) // plan.block_tiles
        for task in range(tasks[0], tasks[1]):
            part = task % plan.parts
            out_block = task // plan.parts % plan.out_blocks
            in_block = task // (plan.parts * plan.out_blocks)
            channel_in, channel = in_block * plan.block_in, out_block * plan.block_out
            channels_in = min(plan.block_in, plan.in_channels - channel_in)
            outs = min(plan.block_out, plan.out_channels - channel)
            target = part * part_elements + in_block * plan.rows * plan.padded_out + channel
            inputs = Input(x, zeros, Planes(values, plan.plane_v * size), channel_in, channels_in)
            first_block = part * blocks // plan.parts
            for block in range(first_block, (part + 1) * blocks // plan.parts):
                first = block * plan.block_tiles
                tiles = min(plan.block_tiles, plan.tiles - first)
                # One after the other: together their 72 planes take a tenth longer (128x32x32x16 on Zen 3).
                walk_inputs(first, tiles, inputs, plan, 0, dt)
                walk_gradients(first, tiles, GradientPart(source, channel, gradients, outs), plan, 0, dt)
                factors = BlockFactors(values, gradients, address(sums) + target * size, tiles, channels_in)
                ahead = _prefetches(x, grad, lanes(dt), block, plan)
                begins = block == first_block
                if FIXED:  # noqa: SIM102 - by itself, so that Numba prunes it
                    if itemsize(scratch.dtype) == WORD_BYTES:
                        round_planes(values, gradients, tiles, channels_in, plan, dt)
                        multiply_fixed(factors, begins, ahead, plan, dt)
                        continue
                multiply_planes(factors, begins, ahead, plan, dt)

    return products


def _make_kernels(transform_tile, name):
    """Make the kernels of all register tiles."""
    transform = _make_transform_gradient(transform_tile)

    def make(tile, suffix):
        products = make_products(tile, transform)

        def backward_weight(begin, end, scratch, grad, x, sums, plan):
            products((begin, end), scratch, grad, grad, x, sums, plan)

        backward_weight.__name__ = name + suffix
        return kernel(backward_weight)

    return make(TILES[0], ""), make(TILES[1], "_32"), make(TILES[2], "_16")


_LARGE = _make_kernels(transform_gradient, "conv2d_backward_weight_winograd")
_SMALL = _make_kernels(transform_small_gradient, "conv2d_backward_weight_winograd_5x5")
conv2d_backward_weight_winograd, conv2d_backward_weight_winograd_32, conv2d_backward_weight_winograd_16 = _LARGE
conv2d_backward_weight_winograd_5x5, conv2d_backward_weight_winograd_5x5_32 = _SMALL[:2]
conv2d_backward_weight_winograd_5x5_16 = _SMALL[2]


@device
def _add_parts(place, plane, part, parts, dt):
    """Add the parts in order, into the first, for one vector of all planes."""
    for p in range(PLANES):
        target = place + p * plane
        total = vload(target, dt)
        for i in range(1, parts):
            total = total + vload(target + i * part, dt)
        vstore(target, total)


@device
def _summed_column(place, plane, small, dt):
    """G^T m for the column of sums at `place`: five numbers, of which three count for a 3x3 kernel."""
    step = 6 * plane
    values = (
        vload(place, dt),
        vload(place + step, dt),
        vload(place + 2 * step, dt),
        vload(place + 3 * step, dt),
        vload(place + 4 * step, dt),
        vload(place + 5 * step, dt),
    )
    return _weight_column(*values, small, dt)


@device
def _weight_column(m0, m1, m2, m3, m4, m5, small, dt):
    if small:
        return small_weight_column(m0, m1, m2, m3, m4, m5, dt)
    g0, g1, g2 = weight_column(m0, m1, m2, m3, m4, m5, dt)
    return g0, g1, g2, g2, g2


@device
def _store_taps(place, tap, values, small, count, check, dt):
    """Store a row of the kernel; return the check with it."""
    vstore_part(place, values[0], count)
    vstore_part(place + tap, values[1], count)
    vstore_part(place + 2 * tap, values[2], count)
    if small:
        vstore_part(place + 3 * tap, values[3], count)
        vstore_part(place + 4 * tap, values[4], count)
    return vfma(vsplat(0, dt), values[4], check_four(check, values, dt))


def _make_transform_sums(small, name):
    """Make the kernel of grad_weight = G^T (sum of the parts, in order) G, for 3x3 or for 5x5 kernels."""
    taps = 5 if small else 3

    def transform(begin, end, sums, out, checks, plan):
        dt = out.dtype
        size = itemsize(dt)
        width = lanes(dt)
        plane = plan.in_blocks * plan.rows * plan.padded_out * size
        part = PLANES * plane
        tap = plan.in_channels * plan.out_channels * size
        clear_checks(checks, begin, end)
        for c in range(begin, end):  # one input channel
            row = c // plan.block_in * plan.rows + c % plan.block_in
            for k in range(0, plan.out_channels, width):
                block = k // plan.block_out * plan.block_out
                place = address(sums) + (row * plan.padded_out + block + k % plan.block_out) * size
                if plan.parts > 1:
                    _add_parts(place, plane, part, plan.parts, dt)
                a = _summed_column(place, plane, small, dt)
                b = _summed_column(place + plane, plane, small, dt)
                e = _summed_column(place + 2 * plane, plane, small, dt)
                f = _summed_column(place + 3 * plane, plane, small, dt)
                g = _summed_column(place + 4 * plane, plane, small, dt)
                h = _summed_column(place + 5 * plane, plane, small, dt)
                target = address(out) + (c * plan.out_channels + k) * size
                count, check = min(width, plan.out_channels - k), vsplat(0, dt)
                line = taps * tap
                values = _weight_column(a[0], b[0], e[0], f[0], g[0], h[0], small, dt)
                check = _store_taps(target, tap, values, small, count, check, dt)
                values = _weight_column(a[1], b[1], e[1], f[1], g[1], h[1], small, dt)
                check = _store_taps(target + line, tap, values, small, count, check, dt)
                values = _weight_column(a[2], b[2], e[2], f[2], g[2], h[2], small, dt)
                check = _store_taps(target + 2 * line, tap, values, small, count, check, dt)
                if small:
                    values = _weight_column(a[3], b[3], e[3], f[3], g[3], h[3], small, dt)
                    check = _store_taps(target + 3 * line, tap, values, small, count, check, dt)
                    values = _weight_column(a[4], b[4], e[4], f[4], g[4], h[4], small, dt)
                    check = _store_taps(target + 4 * line, tap, values, small, count, check, dt)
                keep_check(address(checks) + c * VECTOR_BYTES, check, count, dt)

    transform.__name__ = name
    return kernel(transform)


transform_sums = _make_transform_sums(False, "transform_sums")
transform_sums_5x5 = _make_transform_sums(True, "transform_sums_5x5")


def launch_gradient(kernels, algorithm, gradient, x, place, out, workspace):
    """Launch the products, by the one of `kernels` for the plan's tile, and the transform back.

    `gradient` is what they take for it, `place` its shape and the padding before the first row and column. Return an
    array that is finite if the result is. Scratch of 16 bits asks for products in fixed point.
    """
    small = algorithm.tile == SMALL
    plan = winograd_weight_plan(x.shape, *place, SMALL_TILE if small else TILE)
    elements = PLANES * (plan.plane_v + plan.plane_g) + PATCH * plan.in_channels + VECTOR_BYTES
    kind, share = (np.int16, 2) if algorithm.fixed_point else (np.float32, 1)
    scratch = workspace.empty((get_num_threads(), -(-elements // 16) * 16 * share), kind)
    sums = workspace.empty((plan.parts, PLANES, plan.in_blocks * plan.rows, plan.padded_out), np.float32)
    tasks = plan.in_blocks * plan.out_blocks * plan.parts
    chosen = kernels[TILES.index((plan.tile_rows, plan.tile_vectors))]
    launch(chosen, tasks, *gradient, x, sums, plan, scratch=scratch)
    checks = workspace.empty((plan.in_channels, VECTOR_BYTES // 4), np.float32)
    launch(transform_sums_5x5 if small else transform_sums, plan.in_channels, sums, out, checks, plan)
    return checks


def backward_weight(algorithm, grad_output, x, geometry, out, workspace):
    """Launch the gradient of the weight; return an array that is finite if it is. See algorithms.py."""
    kernels = _SMALL if algorithm.tile == SMALL else _LARGE
    (top, _), (left, _) = geometry.padding
    place = grad_output.shape, top, left
    return launch_gradient(kernels, algorithm, (grad_output,), x, place, out, workspace)
