"""Convolution on the CPU: the choice of kernel for each direction, and the launches."""

import functools
import math

import numpy as np

from ..elementwise.finite import all_finite, expect_finite
from ..elementwise.maps import copy
from ..norm import batch_norm
from ..pool.windows import suits_pool
from ..runtime.launch import immediately, is_recording, trace
from ..vector.bf16_storage import convert, widened
from . import choice, depthwise, few_channels, taps, weight_gradient
from .bf16 import convolve as bf16_convolve
from .bf16 import pack as bf16_pack
from .bf16 import weight_gradient as bf16_weight_gradient
from .choice import WINOGRAD, WINOGRAD_FIXED, choose, conv_output_shape, is_depthwise, winograd_tile
from .direct import run_gather
from .pack import Prepared, pack, packed_size
from .plan import backward_input_gathers, forward_gathers
from .strip import NO_BIAS
from .winograd import convolve as winograd_convolve
from .winograd import mask as winograd_mask
from .winograd import norm as winograd_norm
from .winograd import pool as winograd_pool
from .winograd import prepare as winograd_prepare
from .winograd import unpool as winograd_unpool
from .winograd.plan import suits_fusion
from .winograd.transforms import SQUARE
from .winograd.weight_gradient import gradient as winograd_weight_gradient


@functools.lru_cache(maxsize=1024)
def _gathers(direction, weight_shape, input_shape, geometry, itemsize):
    grad_shape = conv_output_shape(input_shape, weight_shape, geometry[0], geometry[1], geometry[2])
    if direction == "forward":
        return forward_gathers(input_shape, weight_shape, grad_shape, *geometry, itemsize)
    return backward_input_gathers(grad_shape, weight_shape, input_shape, *geometry, itemsize)


def _pack_strides(weight, direction, groups):
    """Strides of (r, s, reduced channel, produced channel, group) in a HWIO weight, in elements."""
    _, s, c, k = weight.shape
    if direction == "forward":
        return s * c * k, c * k, k, 1, k // groups
    return s * c * k, c * k, 1, k, k // groups


def _transform_weight(algorithm, weight, direction, gather, strides, workspace):
    plan, fixed = gather.plan, algorithm == WINOGRAD_FIXED
    sizes = winograd_tile(algorithm, weight.shape[:2]), plan.group_in, plan.group_out
    if direction == "forward":
        return winograd_prepare.prepare(weight, *sizes, workspace, packed=False, fixed=fixed)
    gather = gather._replace(plan=plan._replace(block_channels=plan.group_in))
    turned = workspace.empty((packed_size(plan, weight.itemsize),), weight.dtype)
    pack(weight, turned, gather, strides)
    return winograd_prepare.prepare(turned, *sizes, workspace, packed=True, fixed=fixed)


class _Fresh:
    """A workspace for measuring."""

    @staticmethod
    def empty(shape, dtype):
        return np.empty(shape, dtype)


def _make_run(weight_shape, input_shape, geometry, direction):
    """Return what the autotuner runs: a function that computes one direction with an algorithm."""
    stride, padding, dilation, groups = geometry
    keywords = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    rng = np.random.default_rng(0)
    shapes = (input_shape, weight_shape, conv_output_shape(input_shape, weight_shape, stride, padding, dilation))
    x, weight, grad = (rng.standard_normal(shape, np.float32) for shape in shapes)

    def run(algorithm):
        with immediately(), trace(None):
            if direction == "backward_weight":
                _backward_weight(algorithm, grad, x, geometry, np.empty_like(weight), _Fresh)
                return
            packed = _prepare(algorithm, weight, direction, input_shape, geometry, _Fresh)
            prepared = Prepared(weight, f"conv2d_{direction}_{algorithm}", packed)
            if direction == "forward":
                conv2d(x, prepared, None, **keywords, out=np.empty_like(grad), workspace=_Fresh)
            else:
                conv2d_backward_input(grad, prepared, **keywords, out=np.empty_like(x), workspace=_Fresh)

    return run


def reasons(weight, input_shape, geometry, precision):
    """Return, for each direction, the algorithm and why it was chosen."""
    make_run = functools.partial(_make_run, weight.shape, input_shape, geometry)
    return choice.reasons(weight, input_shape, geometry, precision, make_run)


def _prepare(algorithm, weight, direction, input_shape, geometry, workspace):
    gathers = _gathers(direction, weight.shape, input_shape, geometry, weight.itemsize)
    strides = _pack_strides(weight, direction, geometry[3])
    if algorithm in WINOGRAD:
        return _transform_weight(algorithm, weight, direction, gathers[0], strides, workspace)
    if algorithm == "bf16":
        return bf16_pack.prepare(weight, gathers, strides, workspace, turned=direction == "backward_input")
    return _pack(weight, gathers, strides, workspace)


def _pack(weight, gathers, strides, workspace):
    """Return the weight in the order in which the direct kernel reads it."""
    packed = workspace.empty((sum(packed_size(g.plan, weight.itemsize) for g in gathers),), weight.dtype)
    start = 0
    for gather in gathers:
        stop = start + packed_size(gather.plan, weight.itemsize)
        pack(weight, packed[start:stop], gather, strides)
        start = stop
    return packed


def prepare_conv2d_weight(weight, *, direction, input_shape, stride, padding, dilation, groups, precision, workspace):
    """Return (algorithm, packed weight or None)."""
    if is_depthwise(weight.shape, groups):
        return f"conv2d_{direction}_{depthwise.algorithm(weight, direction, stride)}", None
    geometry = (stride, padding, dilation, groups)
    make_run = functools.partial(_make_run, weight.shape, input_shape, geometry)
    algorithm, _ = choose(direction, weight.shape, weight.dtype, input_shape, geometry, precision, make_run)
    if algorithm == "direct" and not all_finite(weight):
        return f"conv2d_{direction}_taps", None
    if algorithm == "direct" and direction == "backward_input" and few_channels.suits(weight, groups):
        return "conv2d_backward_input_few", None
    return f"conv2d_{direction}_{algorithm}", _prepare(algorithm, weight, direction, input_shape, geometry, workspace)


def _run(x, weight, bias, out, gathers, workspace, *, floor=-math.inf, addend=None, statistics=None):
    bias = NO_BIAS[weight.weight.dtype] if bias is None else bias
    if not handles_stored(weight.algorithm):
        x = widened(x, workspace)
    if weight.algorithm.endswith(WINOGRAD):
        plan, packed = gathers[0].plan, weight.packed
        tile = winograd_tile(weight.algorithm, weight.weight.shape[:2])
        more = {"tile": tile, "floor": floor, "addend": addend, "statistics": statistics}
        found = winograd_convolve.run(x, packed, bias, -plan.first_dh, -plan.first_dw, out, workspace, **more)
        if addend is not out and not _in_range(found, workspace, x, weight.weight):  # else the addend is gone
            more = {"floor": floor, "addend": addend, "statistics": statistics}
            _run_directly(x, weight, bias, out, gathers, workspace, **more)
        return
    if weight.algorithm.endswith("_bf16"):
        turned = "backward_input" in weight.algorithm
        more = {"turned": turned, "floor": floor, "addend": addend, "statistics": statistics}
        bf16_convolve.run(x, weight.packed, bias, out, gathers, workspace, **more)
        return
    if addend is not None and addend is not out:
        copy(addend, out=out)
    start = 0
    for gather in gathers:
        if weight.algorithm.endswith("_few"):
            few_channels.run(x, weight.weight, out, gather, workspace, add=addend is not None)
            continue
        stop = start + packed_size(gather.plan, x.itemsize)
        part = weight.packed[start:stop]
        run_gather(x, part, bias, out, gather, workspace, add=addend is not None, floor=floor)
        start = stop
    if statistics is not None:
        batch_norm.statistics(out, *statistics, workspace)


def _in_range(found, workspace, *arrays):
    """Tell whether Winograd's results are right: finite, if `found` is, or else because one of the factors is not.

    Its transforms add numbers that are larger than the result by their factors (kernels/README.md), and may overflow
    where the formula does not. What is being recorded breaks off then.
    """
    if is_recording():
        expect_finite(found)
        return True
    if np.isfinite(found).all():
        return True
    return not all(all_finite(widened(array, workspace)) for array in arrays)


def _run_directly(x, weight, bias, out, gathers, workspace, **more):
    """As `_run`, with the direct kernel in place of the one that the weight was prepared for."""
    direction = "backward_input" if "backward_input" in weight.algorithm else "forward"
    packed = _pack(weight.weight, gathers, _pack_strides(weight.weight, direction, 1), workspace)
    direct = Prepared(weight.weight, f"conv2d_{direction}_direct", packed)
    y = out if out.dtype == weight.weight.dtype else workspace.empty(out.shape, weight.weight.dtype)
    _run(x, direct, bias, y, gathers, workspace, **more)
    if y is not out:
        convert(y, out)


def conv2d(
    x, weight, bias, *, stride, padding, dilation, groups, out, workspace, floor=-math.inf, addend=None, statistics=None
):
    """Convolution with a weight prepared for "forward".

    ``max(conv2d(x) + bias + addend, floor)``; with `statistics` also mean and variance of the result, into those two
    arrays.
    """
    shape = weight.weight.shape
    geometry = (stride, padding, dilation, groups)
    if is_plain(weight):
        x = widened(x, workspace)
        if weight.algorithm.endswith("_taps"):
            taps.forward(x, weight.weight, bias, *geometry, out, workspace)
        else:
            rows = weight.algorithm.endswith("_3x3")
            depthwise.forward(x, weight.weight, bias, stride, padding, dilation, out, workspace, rows=rows)
        return
    gathers = _gathers("forward", shape, x.shape, geometry, weight.weight.itemsize)
    _run(x, weight, bias, out, gathers, workspace, floor=floor, addend=addend, statistics=statistics)


def is_plain(weight):
    """Tell whether the kernel chosen has nothing fused behind it."""
    return weight.algorithm.endswith(("_taps", "_depthwise", "_depthwise_3x3"))


def handles_stored(algorithm):
    """Tell whether the kernels of an algorithm load and store bfloat16; before and behind others it is converted."""
    return algorithm.endswith((*WINOGRAD, "bf16"))


def _fused_winograd(weight, x_shape, out_shape, direction, geometry):
    """Return padding before the first row and column, and tile, if another layer can follow in registers, else None."""
    if not weight.algorithm.endswith(WINOGRAD) or weight.weight.shape[:2] != (3, 3):
        return None
    input_shape = x_shape if direction == "forward" else out_shape
    plan = _gathers(direction, weight.weight.shape, input_shape, geometry, weight.weight.itemsize)[0].plan
    place = -plan.first_dh, -plan.first_dw, winograd_tile(weight.algorithm, (3, 3))
    fixed = weight.algorithm.endswith(WINOGRAD_FIXED)
    return place if suits_fusion(x_shape, out_shape, *place, fixed) else None


def conv2d_relu_max_pool2d(
    x, weight, bias, *, stride, padding, dilation, groups, kernel_size, pool_geometry, out, argmax, workspace
):
    """Convolution, rectifier and max pooling in one pass; return False, with nothing done, where that cannot be.

    False too where results are to be computed anew, out of Winograd's range; so do the functions below.
    `pool_geometry` is (stride, padding, dilation) of the pooling.
    """
    shape = weight.weight.shape
    conv_shape = conv_output_shape(x.shape, shape, stride, padding, dilation)
    place = _fused_winograd(weight, x.shape, conv_shape, "forward", (stride, padding, dilation, groups))
    if place is None or not suits_pool(conv_shape, out.shape, kernel_size, *pool_geometry):
        return False
    bias = NO_BIAS[weight.weight.dtype] if bias is None else bias
    found = winograd_pool.run_pool(x, weight.packed, bias, conv_shape, *place, out, argmax, workspace)
    return _in_range(found, workspace, x, weight.weight)


def conv2d_backward_input_relu(grad_output, weight, y, *, stride, padding, dilation, groups, out, grad_bias, workspace):
    """Gradient behind the rectifier whose result `y` was the input, and its sum, in one pass; False where not."""
    geometry = (stride, padding, dilation, groups)
    place = _fused_winograd(weight, grad_output.shape, out.shape, "backward_input", geometry)
    if place is None:
        return False
    found = winograd_mask.run_masked(grad_output, weight.packed, y, *place, out, grad_bias, workspace)
    return _in_range(found, workspace, grad_output, weight.weight)


def conv2d_max_pool2d_backward(
    grad_output,
    argmax,
    x,
    weight,
    *,
    geometry,
    kernel_size,
    pool_geometry,
    precision,
    grad_weight,
    grad_input,
    rectified,
    grad_bias,
    workspace,
):
    """Gradients of a convolution behind which a max pooling stands, from that of the pooling's result.

    Return False, with nothing done, where that cannot be in Winograd's transforms. `pool_geometry` is (stride, padding,
    dilation) of the pooling.
    """
    stride, padding, dilation, _ = geometry
    conv_shape = conv_output_shape(x.shape, grad_weight.shape, stride, padding, dilation)
    if not suits_pool(conv_shape, grad_output.shape, kernel_size, *pool_geometry) or not grad_output.size:
        return False
    make_run = functools.partial(_make_run, grad_weight.shape, x.shape, geometry)
    problem = (grad_weight.shape, grad_weight.dtype, x.shape, geometry, precision, make_run)
    algorithm = choose("backward_weight", *problem)[0]
    if algorithm not in WINOGRAD or grad_weight.shape[:2] != (3, 3):
        return False
    place = None
    if grad_input is not None:
        place = _fused_winograd(weight, conv_shape, x.shape, "backward_input", geometry)
        if place is None or place[2] != SQUARE or any(pad % 2 for pad in place[:2]):  # patches must begin on windows
            return False
    tops = padding[0][0], padding[1][0]
    fixed = algorithm == WINOGRAD_FIXED
    more = (conv_shape, *tops, grad_weight, workspace)
    found = winograd_unpool.backward_weight(grad_output, argmax, x, *more, fixed=fixed)
    if not _in_range(found, workspace, grad_output, x):
        return False
    if place is None:
        return True
    mask = x if rectified else x[:0]
    more = (mask, conv_shape, *place[:2], grad_input, grad_bias if rectified else None, workspace)
    found = winograd_unpool.backward_input(grad_output, argmax, weight.packed, *more)
    return _in_range(found, workspace, grad_output, weight.weight)


def conv2d_backward_input_norm_relu(
    grad_output,
    weight,
    addend,
    y,
    x,
    *,
    mean,
    var,
    eps,
    stride,
    padding,
    dilation,
    groups,
    out,
    grad_gamma,
    grad_beta,
    workspace,
):
    """Gradient plus `addend` behind ``y = relu(batch_norm(x))``, and its sums, in one pass; False where not."""
    geometry = (stride, padding, dilation, groups)
    place = _fused_winograd(weight, grad_output.shape, out.shape, "backward_input", geometry)
    if place is None:
        return False
    norm = (y, x, mean, var, eps, grad_gamma, grad_beta)
    found = winograd_norm.run(grad_output, weight.packed, addend, norm, *place, out, workspace)
    return addend is out or _in_range(found, workspace, grad_output, weight.weight)  # or the addend is gone


def conv2d_backward_input(grad_output, weight, *, stride, padding, dilation, groups, out, workspace, addend=None):
    """Gradient with respect to the input, with a weight prepared for "backward_input", plus `addend` if given."""
    shape = weight.weight.shape
    geometry = (stride, padding, dilation, groups)
    if is_plain(weight):
        grad_output = widened(grad_output, workspace)
        if weight.algorithm.endswith("_taps"):
            taps.backward_input(grad_output, weight.weight, *geometry, out, workspace)
        else:
            rows = weight.algorithm.endswith("_3x3")
            geometry = (stride, padding, dilation)
            depthwise.backward_input(grad_output, weight.weight, *geometry, out, workspace, rows=rows)
        return
    gathers = _gathers("backward_input", shape, out.shape, geometry, out.itemsize)
    _run(grad_output, weight, None, out, gathers, workspace, addend=addend)


def conv2d_backward_weight(grad_output, x, *, stride, padding, dilation, groups, precision, out, workspace):
    """Gradient with respect to the weight."""
    geometry = (stride, padding, dilation, groups)
    if is_depthwise(out.shape, groups):
        algorithm = "depthwise"
    elif grad_output.size:
        make_run = functools.partial(_make_run, out.shape, x.shape, geometry)
        algorithm, _ = choose("backward_weight", out.shape, out.dtype, x.shape, geometry, precision, make_run)
    else:
        algorithm = "direct"
    _backward_weight(algorithm, grad_output, x, geometry, out, workspace)


def _backward_weight(algorithm, grad_output, x, geometry, out, workspace):
    stride, padding, dilation, _ = geometry
    if algorithm in WINOGRAD:
        more = (padding[0][0], padding[1][0], out, workspace)
        found = winograd_weight_gradient.backward_weight(grad_output, x, *more, fixed=algorithm == WINOGRAD_FIXED)
        if not _in_range(found, workspace, grad_output, x):
            _backward_weight("direct", grad_output, x, geometry, out, workspace)
        return
    if algorithm == "bf16":
        bf16_weight_gradient.backward_weight(grad_output, x, *geometry, out, workspace)
        return
    x = widened(x, workspace)
    if algorithm == "depthwise":
        grad_output = widened(grad_output, workspace)
        depthwise.backward_weight(grad_output, x, stride, padding, dilation, out, workspace)
    else:
        weight_gradient.backward_weight(grad_output, x, *geometry, out, workspace)
    if not any(map(any, padding)):
        return
    if is_recording():  # nothing is computed yet
        expect_finite(out)
    elif not all_finite(out):
        taps.backward_weight(widened(grad_output, workspace), x, *geometry, out, workspace)
