"""Winograd's gradients of a 3x3 convolution behind which a 2x2 max pooling stands, whose gradient is never stored.

Of the four cells of a window one has the window's gradient, the others zero. So a patch of 6x6 gradients that begins on
an even row and column is nine windows, and a tile of 4x4 is four: each is read as a vector of gradients and one of
places, compared with the four places in registers. That reads a quarter, and nobody writes the whole.

The kernels are those of mask.py and weight_gradient/gradient.py with these transforms instead of theirs.
"""

from ...runtime.launch import device, kernel, launch
from ...vector.memory import load
from ...vector.simd import address, itemsize, lanes, vload_index, vload_part, vselect_eq, vsplat, vstore
from ...vector.sums import add_in_float64
from .blocks import block_scratch, make_convolve_blocks, place_of
from .mask import mask_outputs
from .plan import plan_for
from .prefetch import NOTHING_BESIDE, beside
from .transforms import MASKS, PLANES, TILE, gradient_row, input_row, next_tile, store_patch
from .weight_gradient.gradient import make_products
from .weight_gradient.gradient import run as run_weight
from .weight_gradient.plan import TILES
from .weight_gradient.transform import store_tile

_WINDOWS = TILE // 2  # along one side of a tile


@device
def _window(source, image, p, q, channel, count, dt):
    """Gradient and place of one window, `count` channels; zeros outside the pooled map."""
    grad, argmax, pooled_h, pooled_w, channels = source
    there = 0 <= p < pooled_h and 0 <= q < pooled_w
    element = ((image * pooled_h + p) * pooled_w + q) * channels + channel
    place, places = grad + element * itemsize(dt), address(argmax) + element * itemsize(argmax.dtype)
    if MASKS:
        lanes_there = count if there else 0
        return vload_part(place, lanes_there, dt), vload_index(places, lanes_there, argmax.dtype, dt)
    if there:
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
def _patch_columns(source, image, p, q, channel, count, dt):
    """B^T d for the two columns of three windows, of which the first is (p, q)."""
    upper = _window(source, image, p, q, channel, count, dt)
    middle = _window(source, image, p + 1, q, channel, count, dt)
    lower = _window(source, image, p + 2, q, channel, count, dt)
    return _patch_column(upper, middle, lower, 0, dt), _patch_column(upper, middle, lower, 1, dt)


@device
def _tile_columns(source, image, p, q, channel, count, dt):
    """A g for the two columns of two windows, of which the first is (p, q)."""
    upper = _window(source, image, p, q, channel, count, dt)
    lower = _window(source, image, p + 1, q, channel, count, dt)
    return _tile_column(upper, lower, 0, dt), _tile_column(upper, lower, 1, dt)


@device
def _transform_windows(source, zeros, values, plane_bytes, first, tiles, plan, dt):
    """As `transform_inputs` of blocks.py for a gradient that is given by windows."""
    size = itemsize(dt)
    image, place = divmod(first, plan.tiles_h * plan.tiles_w)
    i, j = divmod(place, plan.tiles_w)
    for t in range(tiles):
        p, q = i * _WINDOWS - plan.pad_top // 2, j * _WINDOWS - plan.pad_left // 2
        target = values + t * plan.row_v * size
        for c in range(0, plan.in_channels, lanes(dt)):
            count = min(lanes(dt), plan.in_channels - c)
            a, b = _patch_columns(source, image, p, q, c, count, dt)
            e, f = _patch_columns(source, image, p, q + 1, c, count, dt)
            g, h = _patch_columns(source, image, p, q + 2, c, count, dt)
            store_patch(a, b, e, f, g, h, target + c * size, plane_bytes, dt)
        image, i, j = next_tile(image, i, j, plan)


@device
def _transform_gradients(source, channel, gradients, first, tiles, outs, plan, dt):
    """As that of weight_gradient/gradient.py for a gradient that is given by windows."""
    size = itemsize(dt)
    width = lanes(dt)
    group = plan.tile_vectors * width
    plane_bytes = plan.plane_g * size
    image, place = divmod(first, plan.tiles_h * plan.tiles_w)
    i, j = divmod(place, plan.tiles_w)
    for t in range(tiles):
        p, q = i * _WINDOWS, j * _WINDOWS
        for k in range(0, plan.block_out, width):
            count = min(width, outs - k)
            target = gradients + (k // group * plan.block_tiles * group + t * group + k % group) * size
            if count > 0:
                a, b = _tile_columns(source, image, p, q, channel + k, count, dt)
                e, f = _tile_columns(source, image, p, q + 1, channel + k, count, dt)
                store_tile(a, b, e, f, target, plane_bytes, dt)
            else:
                for plane in range(PLANES):
                    vstore(target + plane * plane_bytes, vsplat(0, dt))
        image, i, j = next_tile(image, i, j, plan)


@device
def _windows_of(grad, argmax):
    return address(grad), argmax, grad.shape[1], grad.shape[2], grad.shape[3]


def _make_input(vectors, name):
    convolve_blocks = make_convolve_blocks(vectors, mask_outputs, _transform_windows)

    def unpool(begin, end, scratch, grad, argmax, weights, mask, out, sums, plan):
        finish = address(out), place_of(mask), mask.dtype, address(sums)
        others = beside(mask), NOTHING_BESIDE, NOTHING_BESIDE
        source = _windows_of(grad, argmax)
        convolve_blocks(begin, end, scratch, grad, source, weights, finish, out, others, plan)

    unpool.__name__ = name
    return kernel(unpool)


def _make_weight(tile, name):
    products = make_products(tile, _transform_gradients)

    def unpool(begin, end, scratch, grad, argmax, x, sums, plan):
        products(begin, end, scratch, grad, _windows_of(grad, argmax), x, sums, plan)

    unpool.__name__ = name
    return kernel(unpool)


conv2d_winograd_unpool_narrow = _make_input(1, "conv2d_winograd_unpool_narrow")
conv2d_winograd_unpool = _make_input(2, "conv2d_winograd_unpool")
conv2d_backward_weight_winograd_unpool = _make_weight(TILES[0], "conv2d_backward_weight_winograd_unpool")
conv2d_backward_weight_winograd_unpool_32 = _make_weight(TILES[1], "conv2d_backward_weight_winograd_unpool_32")
conv2d_backward_weight_winograd_unpool_16 = _make_weight(TILES[2], "conv2d_backward_weight_winograd_unpool_16")
_WEIGHT_KERNELS = (
    conv2d_backward_weight_winograd_unpool,
    conv2d_backward_weight_winograd_unpool_32,
    conv2d_backward_weight_winograd_unpool_16,
)


def backward_input(grad, argmax, weights, mask, conv_shape, pad_top, pad_left, out, grad_bias, workspace):
    """Launch the gradient of the input, behind a rectifier with result `mask` unless that is empty; see mask.py."""
    plan = plan_for(weights, conv_shape, out.shape, pad_top, pad_left)._replace(stream=0)
    sums = workspace.empty((plan.blocks, out.shape[3]), out.dtype)
    chosen = conv2d_winograd_unpool if plan.vectors > 1 else conv2d_winograd_unpool_narrow
    scratch = block_scratch(plan, workspace)
    launch(chosen, plan.blocks, grad, argmax, weights, mask, out, sums, plan, scratch=scratch)
    if grad_bias is not None:
        add_in_float64(sums, grad_bias, workspace)
    return sums


def backward_weight(grad, argmax, x, conv_shape, pad_top, pad_left, out, workspace, *, fixed):
    """Launch the gradient of the weight; return an array that is finite if it is."""
    place = conv_shape, pad_top, pad_left
    return run_weight(_WEIGHT_KERNELS, (grad, argmax), x, *place, out, workspace, fixed=fixed)
