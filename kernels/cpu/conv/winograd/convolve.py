"""Winograd convolution F(4x4, 3x3), F(4x8, 3x3) and F(2x2, 5x5): forward and backward-input with stride 1, in float32.

x is (batch, in_h, in_w, in_channels), out (batch, out_h, out_w, out_channels), bias (out_channels,), addend as out;
__init__.py says how it goes and how planes, products and weights lie. Backward-input is the same sum with the weight
rotated by 180 degrees, channels exchanged and padding R - 1 - p.

Cost: a quarter of the direct flops in the products, plus some 150 vector instructions a patch and channel vector for
each transform. Error: larger than direct, see kernels/NUMERICS.md; strict precision never comes here. With a weight of
16-bit numbers the planes are rounded to such too, and multiplied in fixed point (fixed_point.py).
"""

from typing import NamedTuple

import numpy as np

from ....prepared import PreparedWeight
from ...elementwise.following import following, is_aligned
from ...runtime.launch import device, get_num_threads, kernel, launch
from ...vector.bf16_storage import STORED, widened
from ...vector.memory import NOTHING, or_nothing
from ...vector.simd import VECTOR_BYTES, address, itemsize
from ...vector.tile import ROWS, TILE_VECTORS
from .. import direct
from ..algorithms import DIRECT
from ..epilogue import in_register_type
from ..pack import pack_gathers, pack_strides
from ..plan import prepared_gathers
from ..statistics import combine_parts, part_arrays
from .blocks import (
    TileBlock,
    block_scratch,
    clear_zeros,
    groups_of,
    make_convolve_blocks,
    make_fill_planes,
    make_groups,
    place_of,
    transform_inputs,
    zero_elements,
)
from .output import Target, clear_checks, transform_outputs, transform_outputs_5x5, transform_outputs_wide
from .overflow import in_range
from .plan import plan_for, round_to_lines
from .prefetch import NO_PART, NO_PREFETCH, PrefetchTargets, part_of
from .transforms import SMALL, SQUARE, WIDE
from .wide import make_convolve_wide


class OutputResults(NamedTuple):
    """What follows the products, and where it goes; an address is 0 where there is nothing."""

    out: np.ndarray
    bias: int
    addend: int
    follows: float  # or an activation, see following.py
    partials: int  # sums for the statistics: [block][3][output channel]
    checks: int  # a vector for each block
    counts: np.ndarray  # outputs of each block


def _make_transform(transform_outputs):
    """Make what writes the outputs of a vector of channels; see `make_groups`."""

    @device
    def transform(products, results, plan, dt):
        out, bias, addend, follows, partials, checks, counts = results
        block, fresh = products.block, products.fresh
        partial = partials + block * 3 * plan.out_channels * itemsize(dt) if partials else 0
        target = Target(out, bias, addend, follows, partial, checks + block * VECTOR_BYTES)
        outputs = transform_outputs(products, target, plan, dt)
        if products.channel == 0 and partial != 0:
            counts[block] = outputs + (0 if fresh else counts[block])

    return transform


def _make_fused(convolve_blocks, name):
    """Make the kernel whose tasks transform their own input."""

    def fused(begin, end, scratch, x, weights, epilogue, out, statistics, plan):
        bias, addend, follows = epilogue
        partials, checks, counts = statistics
        clear_checks(checks, begin, end)
        places = place_of(bias), place_of(addend), follows, place_of(partials), address(checks)
        wanted = PrefetchTargets(x, out, (part_of(addend), NO_PART, NO_PART))
        convolve_blocks((begin, end), scratch, x, weights, OutputResults(out, *places, counts), wanted, plan)

    fused.__name__ = name
    return kernel(fused)


def _make_shared(transform_outputs, name):
    """Make the kernel whose tasks find their input transformed, each for a part of the output channels."""
    convolve_groups = make_groups(TILE_VECTORS, _make_transform(transform_outputs), True, far=True)

    def shared(begin, end, scratch, values, weights, epilogue, out, statistics, plan):
        bias, addend, follows = epilogue
        partials, checks, counts = statistics
        dt = bias.dtype
        clear_checks(checks, begin, end)
        groups = groups_of(plan, dt)
        for task in range(begin, end):
            split, number = task // plan.blocks, task % plan.blocks
            check = address(checks) + (task - number) * VECTOR_BYTES
            places = place_of(bias), place_of(addend), follows, place_of(partials), check
            source = address(values) + number * plan.block_v * itemsize(values.dtype)
            block = TileBlock(number, source, address(scratch))
            taken = split * groups // plan.splits, (split + 1) * groups // plan.splits
            convolve_groups(block, weights, OutputResults(out, *places, counts), taken, NO_PREFETCH, plan, dt)

    shared.__name__ = name
    return kernel(shared)


def _blocks(vectors, transform_outputs):
    return make_convolve_blocks(vectors, _make_transform(transform_outputs), in_turns=True)


conv2d_winograd = _make_fused(_blocks(2, transform_outputs), "conv2d_winograd")
conv2d_winograd_narrow = _make_fused(_blocks(1, transform_outputs), "conv2d_winograd_narrow")
conv2d_winograd_wide = _make_fused(
    make_convolve_wide(_make_transform(transform_outputs_wide), in_turns=True), "conv2d_winograd_wide"
)
conv2d_winograd_shared = _make_shared(transform_outputs, "conv2d_winograd_shared")
conv2d_winograd_5x5 = _make_fused(_blocks(2, transform_outputs_5x5), "conv2d_winograd_5x5")
conv2d_winograd_5x5_narrow = _make_fused(_blocks(1, transform_outputs_5x5), "conv2d_winograd_5x5_narrow")
conv2d_winograd_5x5_shared = _make_shared(transform_outputs_5x5, "conv2d_winograd_5x5_shared")
_FUSED = {  # by vectors, tile
    (1, SQUARE): conv2d_winograd_narrow,
    (2, SQUARE): conv2d_winograd,
    (2, WIDE): conv2d_winograd_wide,
    (1, SMALL): conv2d_winograd_5x5_narrow,
    (2, SMALL): conv2d_winograd_5x5,
}
_SHARED = {SQUARE: conv2d_winograd_shared, SMALL: conv2d_winograd_5x5_shared}


_fill_planes = make_fill_planes(transform_inputs)


@kernel
def winograd_transform_input(begin, end, scratch, x, values, plan):
    """The planes of one block of tiles, up to ROWS tiles a task."""
    dt = scratch.dtype
    clear_zeros(address(scratch), plan, dt)
    strips = plan.rows // ROWS
    for task in range(begin, end):
        block, strip = divmod(task, strips)
        first = block * plan.block_tiles + strip * ROWS
        tiles = min(ROWS, plan.block_tiles - strip * ROWS, plan.tiles - first)
        place = address(values) + block * plan.block_v * itemsize(values.dtype)
        target = place + strip * ROWS * plan.row_v * itemsize(values.dtype)
        steps = place + plan.planes * plan.plane_v * itemsize(values.dtype) + strip * ROWS * itemsize(dt)
        _fill_planes(x, address(scratch), (target, steps), first, tiles, plan, itemsize(values.dtype), dt)


def convolve(x, weight, bias, geometry, epilogue, out, workspace):
    """Launch a convolution or the gradient of its input, and what follows it; see algorithms.py.

    Where results leave the range they are computed again by the direct kernel.
    """
    found = _convolve(x, weight, or_nothing(bias, weight.weight.dtype), epilogue, out, workspace)
    if epilogue.addend is not out and not in_range(found, workspace, x, weight.weight):  # else the addend is gone
        _convolve_directly(x, weight, bias, geometry, epilogue, out, workspace)


def _convolve_directly(x, weight, bias, geometry, epilogue, out, workspace):
    algorithm, array = DIRECT[weight.algorithm.direction], weight.weight
    gathers = prepared_gathers(weight, x.shape, out.shape, geometry)
    packed = pack_gathers(array, gathers, pack_strides(array, algorithm.direction, 1), workspace)
    prepared = PreparedWeight(array, algorithm, packed, weight.geometry)

    def run(y, epilogue):
        direct.convolve(widened(x, workspace), prepared, bias, geometry, epilogue, y, workspace)

    in_register_type(run, epilogue, out, array.dtype, workspace)


def _convolve(x, weight, bias, epilogue, out, workspace):
    """Return an array that is finite if all results are, before the activation."""
    _, addend, statistics, before = epilogue
    follows = following(epilogue.activation, out, before)
    weights = weight.packed
    plan = plan_for(weights, x.shape, out.shape, *weight.geometry.padding_before, weight.algorithm.tile)
    if not plan.tiles:
        return NOTHING[bias.dtype]
    # Streaming to lines that were just read, as when the addend is the output, takes half as long again.
    # A vector of bfloat16 is half a line: 128x32x32x16 takes 0.70 ms with streaming, 0.60 without.
    if plan.stream and (
        addend is not None or out.dtype == STORED or not is_aligned(follows) or out.ctypes.data % VECTOR_BYTES
    ):
        plan = plan._replace(stream=0)
    addend, parts = or_nothing(addend, bias.dtype).reshape(-1), part_arrays(plan, statistics, workspace)
    checks = workspace.empty((plan.blocks * plan.splits, VECTOR_BYTES // 4), np.float32)
    partials, counts = parts
    _launch(x, weights, ((bias, addend, follows), out, (partials, checks, counts), plan), plan, workspace)
    if statistics is None:
        return checks
    combine_parts(parts, out, statistics)
    return statistics[0]


def _launch(x, weights, results, plan, workspace):
    if not plan.shared:
        launch(
            _FUSED[plan.vectors, (plan.tile_h, plan.tile_w)],
            plan.blocks,
            x,
            weights,
            *results,
            scratch=block_scratch(plan, workspace),
        )
        return
    threads = get_num_threads()
    values = workspace.empty((plan.blocks * plan.block_v,), weights.dtype)
    scratch = workspace.empty((threads, zero_elements(plan)), np.float32)
    launch(winograd_transform_input, plan.blocks * (plan.rows // ROWS), x, values, plan, scratch=scratch)
    products = round_to_lines(plan.planes * plan.plane_m)
    scratch = workspace.empty((threads, products), np.float32)
    launch(_SHARED[plan.tile_h, plan.tile_w], plan.blocks * plan.splits, values, weights, *results, scratch=scratch)
