"""Convolution on the CPU: the choice of kernel for each direction, and the launches."""

import functools

import numpy as np

from ...algorithm import PreparedWeight
from ..elementwise.finite import all_finite, expect_finite
from ..pool.windows import suits_pool
from ..runtime.launch import immediately, is_recording, trace
from ..vector.bf16_storage import widened
from . import choice, depthwise, few_channels, taps
from .algorithms import DEPTHWISE, DIRECT, FEW, SQUARE, TAPS
from .bf16 import pack as bf16_pack
from .choice import choose, is_depthwise
from .epilogue import NOTHING_MORE, Epilogue
from .pack import pack, pack_gathers, pack_strides, packed_size
from .plan import conv_gathers, conv_output_shape
from .strip import bias_array
from .winograd import mask as winograd_mask
from .winograd import norm as winograd_norm
from .winograd import pool as winograd_pool
from .winograd import prepare as winograd_prepare
from .winograd import unpool as winograd_unpool
from .winograd.overflow import in_range
from .winograd.plan import padding_before, suits_fusion


def _transform_weight(algorithm, weight, gather, strides, workspace):
    plan = gather.plan
    sizes = algorithm.tile, plan.group_in, plan.group_out
    if not algorithm.transposed:
        return winograd_prepare.prepare(weight, *sizes, workspace, packed=False, fixed=algorithm.fixed_point)
    gather = gather._replace(plan=plan._replace(block_channels=plan.group_in))
    transposed = workspace.empty((packed_size(plan, weight.itemsize),), weight.dtype)
    pack(weight, transposed, gather, strides)
    return winograd_prepare.prepare(transposed, *sizes, workspace, packed=True, fixed=algorithm.fixed_point)


class _Fresh:
    """A workspace for measuring."""

    @staticmethod
    def empty(shape, dtype):
        return np.empty(shape, dtype)


def _make_run(weight_shape, input_shape, geometry, direction):
    """Return what the autotuner runs: a function that computes one direction with an algorithm."""
    rng = np.random.default_rng(0)
    shapes = (input_shape, weight_shape, conv_output_shape(input_shape, weight_shape, *geometry[:3]))
    x, weight, grad = (rng.standard_normal(shape, np.float32) for shape in shapes)

    def run(algorithm):
        with immediately(), trace(None):
            if direction == "backward_weight":
                _backward_weight(algorithm, grad, x, geometry, np.empty_like(weight), _Fresh)
                return
            prepared = _prepare(algorithm, weight, input_shape, geometry, _Fresh)
            source, target = (x, grad) if direction == "forward" else (grad, x)
            _convolve(source, prepared, None, geometry, NOTHING_MORE, np.empty_like(target), _Fresh)

    return run


def _problem(weight, input_shape, geometry, precision):
    """Return what `choose` takes for a weight, or an array of its shape, and what measures it."""
    problem = weight.shape, weight.dtype, input_shape, geometry, precision
    return problem, functools.partial(_make_run, weight.shape, input_shape, geometry)


def reasons(weight, input_shape, geometry, precision, algorithm):
    """Return, for each direction, the algorithm and why it was chosen; `algorithm` is what was asked for."""
    problem, make_run = _problem(weight, input_shape, geometry, precision)
    return choice.reasons(problem, algorithm, make_run)


def _prepare(algorithm, weight, input_shape, geometry, workspace):
    gathers = conv_gathers(algorithm.direction, weight.shape, input_shape, geometry, weight.itemsize)
    strides = pack_strides(weight, algorithm.direction, geometry[3])
    if algorithm.form == "winograd":
        packed = _transform_weight(algorithm, weight, gathers[0], strides, workspace)
    elif algorithm.form == "bf16":
        packed = bf16_pack.prepare(weight, gathers, strides, workspace, transposed=algorithm.transposed)
    else:
        packed = pack_gathers(weight, gathers, strides, workspace)
    return PreparedWeight(weight, algorithm, packed)


def prepare_conv2d_weight(
    weight, *, direction, input_shape, stride, padding, dilation, groups, precision, algorithm, workspace
):
    """Return the weight in the form of the algorithm chosen; `algorithm` is what was asked for."""
    if is_depthwise(weight.shape, groups):
        return PreparedWeight(weight, depthwise.algorithm(weight, direction, stride))
    geometry = (stride, padding, dilation, groups)
    problem, make_run = _problem(weight, input_shape, geometry, precision)
    chosen, _ = choose(direction, problem, algorithm, make_run)
    if chosen is DIRECT[direction] and not all_finite(weight):
        return PreparedWeight(weight, TAPS[direction])
    if chosen is DIRECT["backward_input"] and few_channels.suits(weight, groups):
        return PreparedWeight(weight, FEW)
    return _prepare(chosen, weight, input_shape, geometry, workspace)


def _convolve(x, weight, bias, geometry, epilogue, out, workspace):
    if not weight.algorithm.bf16_storage:
        x = widened(x, workspace)
    weight.algorithm.function(x, weight, bias, geometry, epilogue, out, workspace)


def conv2d(x, weight, bias, *, stride, padding, dilation, groups, out, workspace, epilogue=NOTHING_MORE):
    """Convolution with a weight prepared for "forward", and what follows it if the algorithm fuses."""
    _convolve(x, weight, bias, (stride, padding, dilation, groups), epilogue, out, workspace)


def _fused_winograd(weight, x_shape, out_shape, geometry):
    """Return the padding before the first row and column if another layer can follow in registers, else None."""
    algorithm = weight.algorithm
    if algorithm.form != "winograd" or weight.weight.shape[:2] != (3, 3):
        return None
    place = padding_before(weight, x_shape, out_shape, geometry)
    return place if suits_fusion(x_shape, out_shape, *place, algorithm.tile, algorithm.fixed_point) else None


def conv2d_relu_max_pool2d(
    x, weight, bias, *, stride, padding, dilation, groups, kernel_size, pool_geometry, out, argmax, workspace
):
    """Convolution, rectifier and max pooling in one pass; return False, with nothing done, where that cannot be.

    False too where results are to be computed anew, out of Winograd's range; so do the functions below.
    `pool_geometry` is (stride, padding, dilation) of the pooling.
    """
    shape = weight.weight.shape
    conv_shape = conv_output_shape(x.shape, shape, stride, padding, dilation)
    place = _fused_winograd(weight, x.shape, conv_shape, (stride, padding, dilation, groups))
    if place is None or not suits_pool(conv_shape, out.shape, kernel_size, *pool_geometry):
        return False
    bias = bias_array(bias, weight.weight.dtype)
    found = winograd_pool.convolve_pool(x, weight, bias, conv_shape, place, (out, argmax), workspace)
    return in_range(found, workspace, x, weight.weight)


def conv2d_backward_input_relu(grad_output, weight, y, *, stride, padding, dilation, groups, out, grad_bias, workspace):
    """Gradient behind the rectifier whose result `y` was the input, and its sum, in one pass; False where not."""
    place = _fused_winograd(weight, grad_output.shape, out.shape, (stride, padding, dilation, groups))
    if place is None:
        return False
    found = winograd_mask.convolve_masked(grad_output, weight, y, place, (out, grad_bias), workspace)
    return in_range(found, workspace, grad_output, weight.weight)


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
    algorithm,
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
    problem, make_run = _problem(grad_weight, x.shape, geometry, precision)
    chosen, _ = choose("backward_weight", problem, algorithm, make_run)
    if chosen.form != "winograd" or grad_weight.shape[:2] != (3, 3):
        return False
    place = None
    if grad_input is not None:
        place = _fused_winograd(weight, conv_shape, x.shape, geometry)
        tile = weight.algorithm.tile
        if place is None or tile != SQUARE or any(pad % 2 for pad in place):  # patches must begin on windows
            return False
    windows, tops = (grad_output, argmax), (padding[0][0], padding[1][0])
    found = winograd_unpool.backward_weight(chosen, windows, x, conv_shape, tops, grad_weight, workspace)
    if not in_range(found, workspace, grad_output, x):
        return False
    if place is None:
        return True
    mask = x if rectified else x[:0]
    results = grad_input, grad_bias if rectified else None
    found = winograd_unpool.backward_input(windows, weight, mask, conv_shape, place, results, workspace)
    return in_range(found, workspace, grad_output, weight.weight)


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
    place = _fused_winograd(weight, grad_output.shape, out.shape, (stride, padding, dilation, groups))
    if place is None:
        return False
    norm = (y, x, mean, var, eps, grad_gamma, grad_beta)
    found = winograd_norm.convolve_norm(grad_output, weight, addend, norm, place, out, workspace)
    return addend is out or in_range(found, workspace, grad_output, weight.weight)  # or the addend is gone


def conv2d_backward_input(grad_output, weight, *, stride, padding, dilation, groups, out, workspace, addend=None):
    """Gradient with respect to the input, with a weight prepared for "backward_input", plus `addend` if given."""
    geometry, epilogue = (stride, padding, dilation, groups), Epilogue(addend=addend)
    _convolve(grad_output, weight, None, geometry, epilogue, out, workspace)


def conv2d_backward_weight(grad_output, x, *, stride, padding, dilation, groups, precision, algorithm, out, workspace):
    """Gradient with respect to the weight; `algorithm` is what was asked for."""
    geometry = (stride, padding, dilation, groups)
    chosen = DIRECT["backward_weight"]
    if is_depthwise(out.shape, groups):
        chosen = DEPTHWISE["backward_weight"]
    elif grad_output.size:
        problem, make_run = _problem(out, x.shape, geometry, precision)
        chosen, _ = choose("backward_weight", problem, algorithm, make_run)
    _backward_weight(chosen, grad_output, x, geometry, out, workspace)


def _backward_weight(algorithm, grad_output, x, geometry, out, workspace):
    wide_grad = grad_output
    if not algorithm.bf16_storage:
        x = widened(x, workspace)
        if algorithm.form == "depthwise":
            wide_grad = widened(grad_output, workspace)
    found = algorithm.function(algorithm, wide_grad, x, geometry, out, workspace)
    if algorithm.form == "winograd":
        if not in_range(found, workspace, grad_output, x):
            _backward_weight(DIRECT["backward_weight"], grad_output, x, geometry, out, workspace)
    elif algorithm.form != "bf16" and any(map(any, geometry[1])):
        if is_recording():  # nothing is computed yet
            expect_finite(out)
        elif not all_finite(out):
            taps.backward_weight(widened(grad_output, workspace), x, geometry, out, workspace)
