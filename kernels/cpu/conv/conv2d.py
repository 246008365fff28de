"""Convolution on the CPU: the choice of kernel for each direction, and the launches."""

import functools
import math

import numpy as np

from ...pointwise import RELU
from ...prepared import PreparedWeight
from ..elementwise.finite import all_finite, expect_finite
from ..elementwise.maps import add, copy
from ..elementwise.pointwise import activate
from ..norm import batch_norm
from ..runtime.launch import immediately, is_recording, trace
from ..vector.bf16_storage import STORED, convert, widened
from . import choice, depthwise, few_channels, taps, weight_gradient
from .bf16 import convolve as bf16_convolve
from .bf16 import pack as bf16_pack
from .bf16 import weight_gradient as bf16_weight_gradient
from .choice import WINOGRAD, WINOGRAD_FIXED, choose, conv_output_shape, is_depthwise, winograd_tile
from .direct import run_gather
from .pack import pack, packed_size
from .plan import backward_input_gathers, forward_gathers
from .strip import NO_BIAS
from .winograd import convolve as winograd_convolve
from .winograd import prepare as winograd_prepare
from .winograd.weight_gradient import gradient as winograd_weight_gradient


def _values(geometry):
    """Return (stride, padding, dilation, groups), as plans and choices take them."""
    return geometry.stride, geometry.padding, geometry.dilation, geometry.groups


def _direction(geometry):
    return "backward_input" if geometry.is_transposed else "forward"


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
    rng = np.random.default_rng(0)
    grad_shape = conv_output_shape(input_shape, weight_shape, *_values(geometry)[:3])
    shapes = (input_shape, weight_shape, grad_shape)
    x, weight, grad = (rng.standard_normal(shape, np.float32) for shape in shapes)

    def run(algorithm):
        with immediately(), trace(None):
            if direction == "backward_weight":
                _backward_weight(algorithm, grad, x, _values(geometry), np.empty_like(weight), _Fresh)
                return
            packed = _prepare(algorithm, weight, direction, input_shape, _values(geometry), _Fresh)
            way = geometry if geometry.is_transposed == (direction == "backward_input") else geometry.transposed()
            prepared = PreparedWeight(weight, f"conv2d_{direction}_{algorithm}", packed, way)
            if direction == "forward":
                conv2d(x, prepared, None, out=np.empty_like(grad), workspace=_Fresh)
            else:
                conv2d_backward_input(grad, prepared, out=np.empty_like(x), workspace=_Fresh)

    return run


def conv2d_reasons(weight, *, geometry, input_shape, precision):
    """Return, for each direction, the algorithm and why it was chosen."""
    make_run = functools.partial(_make_run, weight.shape, input_shape, geometry)
    return choice.reasons(weight, input_shape, _values(geometry), precision, make_run)


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


def prepare_conv2d_weight(weight, *, geometry, input_shape, precision, workspace):
    """Choose the kernel for one direction and bring the weight into its form."""
    direction = _direction(geometry)
    if is_depthwise(weight.shape, geometry.groups):
        chosen = depthwise.algorithm(weight, direction, geometry.stride)
        return PreparedWeight(weight, f"conv2d_{direction}_{chosen}", None, geometry)
    make_run, values = functools.partial(_make_run, weight.shape, input_shape, geometry), _values(geometry)
    algorithm, _ = choose(direction, weight.shape, weight.dtype, input_shape, values, precision, make_run)
    if algorithm == "direct" and not all_finite(weight):
        return PreparedWeight(weight, f"conv2d_{direction}_taps", None, geometry)
    if algorithm == "direct" and geometry.is_transposed and few_channels.suits(weight, geometry.groups):
        return PreparedWeight(weight, "conv2d_backward_input_few", None, geometry)
    packed = _prepare(algorithm, weight, direction, input_shape, values, workspace)
    return PreparedWeight(weight, f"conv2d_{direction}_{algorithm}", packed, geometry)


def run(x, weight, bias, out, workspace, *, floor=-math.inf, addend=None, statistics=None):
    """Compute ``max(sums + bias + addend, floor)``; mean and variance of that go to `statistics`."""
    y = out
    if not handles_stored(weight.algorithm):
        x = widened(x, workspace)
        y = workspace.empty(out.shape, weight.weight.dtype) if out.dtype == STORED else out
    more = {"floor": floor, "addend": addend, "statistics": statistics}
    if is_plain(weight):
        _run_plain(x, weight, bias, y, workspace, **more)
    else:
        bias = NO_BIAS[weight.weight.dtype] if bias is None else bias
        if weight.algorithm.endswith(WINOGRAD):
            _run_winograd(x, weight, bias, y, workspace, **more)
        else:
            _run_gathers(x, weight, bias, y, workspace, **more)
    if y is not out:
        convert(y, out)


def _run_plain(x, weight, bias, out, workspace, *, floor, addend, statistics):
    """Launch a kernel that has nothing fused behind it, and what follows."""
    y = workspace.empty(out.shape, out.dtype) if addend is out else out
    transposed, array, values = weight.geometry.is_transposed, weight.weight, _values(weight.geometry)
    rows = weight.algorithm.endswith("_3x3")
    if weight.algorithm.endswith("_taps"):
        if transposed:
            taps.backward_input(x, array, *values, y, workspace)
        else:
            taps.forward(x, array, bias, *values, y, workspace)
    elif transposed:
        depthwise.backward_input(x, array, *values[:3], y, workspace, rows=rows)
    else:
        depthwise.forward(x, array, bias, *values[:3], y, workspace, rows=rows)
    if addend is not None:
        add(y, addend, out=out)
    if floor == 0.0:
        activate(RELU, out, out=out)
    if statistics is not None:
        batch_norm.statistics(out, *statistics, workspace)


def _run_winograd(x, weight, bias, out, workspace, **more):
    place, tile = weight.geometry.padding_before, winograd_tile(weight.algorithm, weight.geometry.kernel_size)
    found = winograd_convolve.run(x, weight.packed, bias, *place, out, workspace, tile=tile, **more)
    if more["addend"] is not out and not in_range(found, workspace, x, weight.weight):  # else the addend is gone
        _run_directly(x, weight, bias, out, workspace, **more)


def _run_gathers(x, weight, bias, out, workspace, *, floor, addend, statistics):
    geometry, array = weight.geometry, weight.weight
    input_shape = out.shape if geometry.is_transposed else x.shape
    gathers = _gathers(_direction(geometry), array.shape, input_shape, _values(geometry), array.itemsize)
    if weight.algorithm.endswith("_bf16"):
        more = {"turned": geometry.is_transposed, "floor": floor, "addend": addend, "statistics": statistics}
        bf16_convolve.run(x, weight.packed, bias, out, gathers, workspace, **more)
        return
    if addend is not None and addend is not out:
        copy(addend, out=out)
    start = 0
    for gather in gathers:
        if weight.algorithm.endswith("_few"):
            few_channels.run(x, array, out, gather, workspace, add=addend is not None)
            continue
        stop = start + packed_size(gather.plan, x.itemsize)
        part = weight.packed[start:stop]
        run_gather(x, part, bias, out, gather, workspace, add=addend is not None, floor=floor)
        start = stop
    if statistics is not None:
        batch_norm.statistics(out, *statistics, workspace)


def in_range(found, workspace, *arrays):
    """Tell whether Winograd's results are right: finite, if `found` is, or else because one of the factors is not.

    Its transforms add numbers that are larger than the result by their factors (kernels/NUMERICS.md), and may overflow
    where the formula does not. What is being recorded breaks off then.
    """
    if is_recording():
        expect_finite(found)
        return True
    if np.isfinite(found).all():
        return True
    return not all(all_finite(widened(array, workspace)) for array in arrays)


def _run_directly(x, weight, bias, out, workspace, **more):
    """As `_run_winograd`, with the direct kernel in place of the one that the weight was prepared for."""
    geometry, array = weight.geometry, weight.weight
    direction, input_shape = _direction(geometry), out.shape if geometry.is_transposed else x.shape
    packed = _prepare("direct", array, direction, input_shape, _values(geometry), workspace)
    run(x, PreparedWeight(array, f"conv2d_{direction}_direct", packed, geometry), bias, out, workspace, **more)


def conv2d(x, weight, bias, *, out, workspace):
    """Convolution with a weight prepared for it."""
    run(x, weight, bias, out, workspace)


def conv2d_relu(x, weight, bias, *, out, workspace):
    """Convolution and rectifier."""
    run(x, weight, bias, out, workspace, floor=0.0)


def conv2d_add_relu(x, weight, bias, addend, *, out, workspace):
    """Convolution, addition and rectifier."""
    run(x, weight, bias, out, workspace, floor=0.0, addend=addend)


def conv2d_statistics(x, weight, bias, *, out, mean, var, workspace):
    """Convolution, with mean and variance of its result."""
    run(x, weight, bias, out, workspace, statistics=(mean, var))


def conv2d_backward_input(grad_output, weight, *, out, workspace):
    """Gradient with respect to the input, with a weight prepared for it."""
    run(grad_output, weight, None, out, workspace)


def conv2d_backward_input_add(grad_output, weight, addend, *, out, workspace):
    """Gradient with respect to the input, plus `addend`."""
    run(grad_output, weight, None, out, workspace, addend=addend)


def is_plain(weight):
    """Tell whether the kernel chosen has nothing fused behind it."""
    return weight.algorithm.endswith(("_taps", "_depthwise", "_depthwise_3x3"))


def handles_stored(algorithm):
    """Tell whether the kernels of an algorithm load and store bfloat16; before and behind others it is converted."""
    return algorithm.endswith((*WINOGRAD, "bf16"))


def conv2d_backward_weight(grad_output, x, *, geometry, precision, out, workspace):
    """Gradient with respect to the weight."""
    if is_depthwise(out.shape, geometry.groups):
        algorithm = "depthwise"
    else:
        algorithm = weight_algorithm(out, x.shape, geometry, precision) if grad_output.size else "direct"
    _backward_weight(algorithm, grad_output, x, _values(geometry), out, workspace)


def weight_algorithm(weight, input_shape, geometry, precision):
    """Return which algorithm computes the gradient of a weight."""
    make_run = functools.partial(_make_run, weight.shape, input_shape, geometry)
    problem = (weight.shape, weight.dtype, input_shape, _values(geometry), precision, make_run)
    return choose("backward_weight", *problem)[0]


def _backward_weight(algorithm, grad_output, x, geometry, out, workspace):
    stride, padding, dilation, _ = geometry
    if algorithm in WINOGRAD:
        more = (padding[0][0], padding[1][0], out, workspace)
        found = winograd_weight_gradient.backward_weight(grad_output, x, *more, fixed=algorithm == WINOGRAD_FIXED)
        if not in_range(found, workspace, grad_output, x):
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
