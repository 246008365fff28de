"""Winograd's gradients of a 3x3 convolution after which a 2x2 max pooling stands, whose gradient is never stored.

Of the four cells of a window one has the window's gradient, the others zero. So a patch of 6x6 gradients that begins on
an even row and column is nine windows, one that begins on odd ones (of a kernel with a padding of 1) sixteen, of which
those at the edges count in part, and a tile of 4x4 is four: each is read as a vector of gradients and one of places,
compared with the four places in registers. That reads a quarter, and nobody writes the whole.

The kernels are those of mask.py, norm.py and weight_gradient/gradient.py with these transforms instead of theirs.
"""

from typing import NamedTuple

import numpy as np

from ...runtime.launch import device, kernel, launch
from ...vector.memory import load
from ...vector.simd import address, itemsize, lanes, vload_index, vload_part, vselect_eq, vsplat
from ...vector.sums import add_in_float64
from .blocks import Input, block_scratch, make_convolve_blocks, place_of
from .mask import MaskResults, PrecedingActivation, mask_outputs
from .norm import NormResults, launch_norm, norm_outputs
from .plan import plan_for
from .prefetch import NO_PART, PrefetchTargets, part_of
from .transforms import MASKS, SQUARE, TILE, Planes, gradient_row, input_row, store_patch
from .walk import make_walk
from .weight_gradient.gradient import launch_gradient, make_products
from .weight_gradient.plan import TILES
from .weight_gradient.transform import clear_planes, gradient_planes, store_tile

_WINDOWS = TILE // 2  # along one side of a tile


class PooledGradient(NamedTuple):
    """The gradient of a pooled map and the places in its windows, both (batch, pooled_h, pooled_w, channels)."""

    grad: int  # an address
    argmax: np.ndarray
    pooled_h: int
    pooled_w: int
    channels: int


@device
def windows_of(grad, argmax):
    """Return the windows of two arrays."""
    return PooledGradient(address(grad), argmax, grad.shape[1], grad.shape[2], grad.shape[3])


@device
def _window(windows, image, p, q, channel, count, dt):
    """Gradient and place of one window, `count` channels; zeros outside the pooled map."""
    grad, argmax, pooled_h, pooled_w, channels = windows
    in_bounds = 0 <= p < pooled_h and 0 <= q < pooled_w
    element = ((image * pooled_h + p) * pooled_w + q) * channels + channel
    place, places = grad + element * itemsize(dt), address(argmax) + element * itemsize(argmax.dtype)
    if MASKS:
        loaded = count if in_bounds else 0
        return vload_part(place, loaded, dt), vload_index(places, loaded, argmax.dtype, dt)
    if in_bounds:
        return load(place, count, dt), vload_index(places, count, argmax.dtype, dt)
    return vsplat(0, dt), vsplat(0, dt)


@device
def _cell(window, place, dt):
    """What a window gives the cell at `place` of it."""
    return vselect_eq(window[1], vsplat(place, dt), window[0], vsplat(0, dt))


@device
def _patch_column(upper, middle, lower, side, dt):
    """B^T d for the column on one side (0 or 1) of three windows below each other."""
    return input_row(
        *(_cell(upper, side, dt), _cell(upper, 2 + side, dt)),
        *(_cell(middle, side, dt), _cell(middle, 2 + side, dt)),
        *(_cell(lower, side, dt), _cell(lower, 2 + side, dt)),
        dt,
    )


@device
def _tile_column(upper, lower, side, dt):
    """A g for the column on one side (0 or 1) of two windows below each other."""
    return gradient_row(
        *(_cell(upper, side, dt), _cell(upper, 2 + side, dt)),
        *(_cell(lower, side, dt), _cell(lower, 2 + side, dt)),
        dt,
    )


@device
def _patch_columns(windows, image, p, q, channel, count, dt):
    """B^T d for the two columns of three windows, of which the first is (p, q)."""
    upper = _window(windows, image, p, q, channel, count, dt)
    middle = _window(windows, image, p + 1, q, channel, count, dt)
    lower = _window(windows, image, p + 2, q, channel, count, dt)
    return _patch_column(upper, middle, lower, 0, dt), _patch_column(upper, middle, lower, 1, dt)


@device
def _tile_columns(windows, image, p, q, channel, count, dt):
    """A g for the two columns of two windows, of which the first is (p, q)."""
    upper = _window(windows, image, p, q, channel, count, dt)
    lower = _window(windows, image, p + 1, q, channel, count, dt)
    return _tile_column(upper, lower, 0, dt), _tile_column(upper, lower, 1, dt)


@device
def _odd_column(w0, w1, w2, w3, side, dt):
    """B^T d for the column on one side of four windows below each other, from the lower row of the first on."""
    return input_row(
        *(_cell(w0, 2 + side, dt), _cell(w1, side, dt), _cell(w1, 2 + side, dt)),
        *(_cell(w2, side, dt), _cell(w2, 2 + side, dt), _cell(w3, side, dt)),
        dt,
    )


@device
def _four_windows(windows, image, p, q, channel, count, dt):
    """Four windows below each other, of which the first is (p, q)."""
    return (
        _window(windows, image, p, q, channel, count, dt),
        _window(windows, image, p + 1, q, channel, count, dt),
        _window(windows, image, p + 2, q, channel, count, dt),
        _window(windows, image, p + 3, q, channel, count, dt),
    )


@device
def _even_patch(windows, image, p, q, channel, count, dt):
    """B^T d for the six columns of three windows by three, of which the first is (p, q)."""
    a, b = _patch_columns(windows, image, p, q, channel, count, dt)
    e, f = _patch_columns(windows, image, p, q + 1, channel, count, dt)
    g, h = _patch_columns(windows, image, p, q + 2, channel, count, dt)
    return a, b, e, f, g, h


@device
def _odd_patch(windows, image, p, q, channel, count, dt):
    """B^T d for the six inner columns of four windows by four, of which the first is (p, q)."""
    four = _four_windows(windows, image, p, q, channel, count, dt)
    a = _odd_column(*four, 1, dt)
    four = _four_windows(windows, image, p, q + 1, channel, count, dt)
    b, e = _odd_column(*four, 0, dt), _odd_column(*four, 1, dt)
    four = _four_windows(windows, image, p, q + 2, channel, count, dt)
    f, g = _odd_column(*four, 0, dt), _odd_column(*four, 1, dt)
    four = _four_windows(windows, image, p, q + 3, channel, count, dt)
    return a, b, e, f, g, _odd_column(*four, 0, dt)


def _make_transform(patch, odd):
    """Make the transform of patches that begin on an odd row and column, or on even ones."""

    @device
    def transform_patch(tile, job, plan, state, dt):
        windows, planes = job.x, job.planes
        p, q = tile.i * _WINDOWS - (plan.pad_top + odd) // 2, tile.j * _WINDOWS - (plan.pad_left + odd) // 2
        target = planes.address + tile.number * plan.row_v * itemsize(dt)
        for c in range(0, plan.in_channels, lanes(dt)):
            count = min(lanes(dt), plan.in_channels - c)
            columns = patch(windows, tile.image, p, q, c, count, dt)
            store_patch(columns, Planes(target + c * itemsize(dt), planes.step), dt)
        return state

    walk = make_walk(transform_patch)

    @device
    def transform_windows(windows, zeros, planes, first, tiles, plan, dt):
        """As `transform_inputs` of blocks.py for a gradient that is given by windows."""
        walk(first, tiles, Input(windows, zeros, planes, 0, plan.in_channels), plan, 0, dt)

    return transform_windows


_TRANSFORMS = {0: _make_transform(_even_patch, 0), 1: _make_transform(_odd_patch, 1)}


@device
def _transform_gradient(tile, job, plan, state, dt):
    """As that of weight_gradient/gradient.py for a gradient that is given by windows."""
    windows, channel, gradients, outs = job
    p, q = tile.i * _WINDOWS, tile.j * _WINDOWS
    for k in range(0, plan.block_out, lanes(dt)):
        count = min(lanes(dt), outs - k)
        planes = gradient_planes(gradients, tile.number, k, plan, dt)
        if count > 0:
            a, b = _tile_columns(windows, tile.image, p, q, channel + k, count, dt)
            e, f = _tile_columns(windows, tile.image, p, q + 1, channel + k, count, dt)
            store_tile((a, b, e, f), planes, dt)
        else:
            clear_planes(planes, dt)
    return state


def _make_input(convolve_blocks, name):
    def unpool(begin, end, scratch, grad, argmax, weights, preceding, out, sums, plan):
        mask, follows = preceding
        results = MaskResults(address(out), place_of(mask), PrecedingActivation(follows, mask.dtype), address(sums))
        wanted = PrefetchTargets(grad, out, (part_of(mask), NO_PART, NO_PART))
        convolve_blocks((begin, end), scratch, windows_of(grad, argmax), weights, results, wanted, plan)

    unpool.__name__ = name
    return kernel(unpool)


def _make_norm(convolve_blocks, name):
    def unpool(begin, end, scratch, pooled, weights, addend, forward, out, sums, plan):
        (grad, argmax), (y, x, norm, follows), (gradients, correlations) = pooled, forward, sums
        places = address(out), place_of(addend), y, x, norm, follows, address(gradients), address(correlations)
        wanted = PrefetchTargets(grad, out, (part_of(addend), part_of(y), part_of(x)))
        source = windows_of(grad, argmax)
        convolve_blocks((begin, end), scratch, source, weights, NormResults(*places), wanted, plan)

    unpool.__name__ = name
    return kernel(unpool)


def _make_kernels(make, outputs, name):
    """Make the kernels by vectors, and whether patches begin on odd rows and columns."""
    return {
        (vectors, odd): make(
            make_convolve_blocks(vectors, outputs, _TRANSFORMS[odd]),
            name + "_narrow" * (vectors == 1) + "_odd" * odd,
        )
        for vectors in (1, 2)
        for odd in (0, 1)
    }


def _make_weight(tile, name):
    products = make_products(tile, _transform_gradient)

    def unpool(begin, end, scratch, grad, argmax, x, sums, plan):
        products((begin, end), scratch, grad, windows_of(grad, argmax), x, sums, plan)

    unpool.__name__ = name
    return kernel(unpool)


_INPUT = _make_kernels(_make_input, mask_outputs, "conv2d_winograd_unpool")
conv2d_winograd_unpool_narrow, conv2d_winograd_unpool_narrow_odd = _INPUT[1, 0], _INPUT[1, 1]
conv2d_winograd_unpool, conv2d_winograd_unpool_odd = _INPUT[2, 0], _INPUT[2, 1]
_NORM = _make_kernels(_make_norm, norm_outputs, "conv2d_winograd_unpool_norm")
conv2d_winograd_unpool_norm_narrow, conv2d_winograd_unpool_norm_narrow_odd = _NORM[1, 0], _NORM[1, 1]
conv2d_winograd_unpool_norm, conv2d_winograd_unpool_norm_odd = _NORM[2, 0], _NORM[2, 1]
conv2d_backward_weight_winograd_unpool = _make_weight(TILES[0], "conv2d_backward_weight_winograd_unpool")
conv2d_backward_weight_winograd_unpool_32 = _make_weight(TILES[1], "conv2d_backward_weight_winograd_unpool_32")
conv2d_backward_weight_winograd_unpool_16 = _make_weight(TILES[2], "conv2d_backward_weight_winograd_unpool_16")
_WEIGHT_KERNELS = (
    conv2d_backward_weight_winograd_unpool,
    conv2d_backward_weight_winograd_unpool_32,
    conv2d_backward_weight_winograd_unpool_16,
)


def suits_windows(place, tile):
    """Tell whether patches begin on windows, or in the midst of them in both directions; tiles are of 4x4."""
    top, left = place
    return tile == SQUARE and top % 2 == left % 2


def backward_input(windows, weight, preceding, conv_shape, place, results, workspace):
    """Launch the gradient of the input to `results`, (out, grad_bias); see `convolve_masked`.

    `windows` is (grad, argmax) of the pooling; there is no activation if the array of `preceding` is empty.
    """
    weights, (out, grad_bias) = weight.packed, results
    plan = plan_for(weights, conv_shape, out.shape, *place)._replace(stream=0)
    sums = workspace.empty((plan.blocks, out.shape[3]), out.dtype)
    chosen, scratch = _INPUT[plan.vectors, place[0] % 2], block_scratch(plan, workspace)
    launch(chosen, plan.blocks, *windows, weights, preceding, out, sums, plan, scratch=scratch)
    if grad_bias is not None:
        add_in_float64(sums, grad_bias, workspace)
    return sums


def backward_input_norm(windows, weight, addend, forward, conv_shape, place, results, workspace):
    """Launch the gradient through a normalisation's activation, and its sums; see `convolve_norm`."""
    plan = plan_for(weight.packed, conv_shape, results[0].shape, *place)
    return launch_norm(_NORM[plan.vectors, place[0] % 2], windows, weight, addend, forward, plan, results, workspace)


def backward_weight(algorithm, windows, x, conv_shape, place, out, workspace):
    """Launch the gradient of the weight; return an array that is finite if it is."""
    return launch_gradient(_WEIGHT_KERNELS, algorithm, windows, x, (conv_shape, *place), out, workspace)
