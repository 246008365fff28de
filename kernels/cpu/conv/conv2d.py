"""Convolution on the CPU: the choice of kernel for each direction, and the launches."""

import functools

import numpy as np

from ...prepared import PreparedWeight
from ..elementwise.finite import all_finite, expect_finite
from ..elementwise.maps import add
from ..elementwise.pointwise import activate
from ..norm import batch_norm
from ..runtime.launch import immediately, is_recording, trace
from ..vector.bf16_storage import widened
from . import choice, depthwise, few_channels, taps
from .algorithms import DEPTHWISE, DIRECT, FEW, TAPS
from .bf16 import pack as bf16_pack
from .choice import choose, is_depthwise
from .epilogue import NOTHING_MORE, in_register_type
from .pack import pack, pack_gathers, pack_strides, packed_size
from .plan import conv_gathers, conv_output_shape
from .winograd import prepare as winograd_prepare
from .winograd.overflow import in_range


def _direction(geometry):
    return "backward_input" if geometry.is_transposed else "forward"


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
    shapes = (input_shape, weight_shape, conv_output_shape(input_shape, weight_shape, geometry))
    x, weight, grad = (rng.standard_normal(shape, np.float32) for shape in shapes)

    def run_with(algorithm):
        with immediately(), trace(None):
            if direction == "backward_weight":
                _backward_weight(algorithm, grad, x, geometry, np.empty_like(weight), _Fresh)
                return
            way = geometry if geometry.is_transposed == algorithm.transposed else geometry.transposed()
            prepared = _prepare(algorithm, weight, input_shape, way, _Fresh)
            source, target = (x, grad) if direction == "forward" else (grad, x)
            run(source, prepared, None, np.empty_like(target), _Fresh)

    return run_with


def _problem(weight, input_shape, geometry, precision):
    """Return what `choose` takes for a weight, or an array of its shape, and what measures it."""
    problem = weight.shape, weight.dtype, input_shape, geometry, precision
    return problem, functools.partial(_make_run, weight.shape, input_shape, geometry)


def conv2d_reasons(weight, *, geometry, input_shape, precision, algorithm):
    """Return, for each direction, the algorithm and why it was chosen; `algorithm` is what was asked for."""
    problem, make_run = _problem(weight, input_shape, geometry, precision)
    return choice.reasons(problem, algorithm, make_run)


def _prepare(algorithm, weight, input_shape, geometry, workspace):
    gathers = conv_gathers(algorithm.direction, weight.shape, input_shape, geometry, weight.itemsize)
    strides = pack_strides(weight, algorithm.direction, geometry.groups)
    if algorithm.form == "winograd":
        packed = _transform_weight(algorithm, weight, gathers[0], strides, workspace)
    elif algorithm.form == "bf16":
        packed = bf16_pack.prepare(weight, gathers, strides, workspace, transposed=algorithm.transposed)
    else:
        packed = pack_gathers(weight, gathers, strides, workspace)
    return PreparedWeight(weight, algorithm, packed, geometry)


def prepare_conv2d_weight(weight, *, geometry, input_shape, precision, algorithm, workspace):
    """Choose the algorithm for one direction and bring the weight into its form; `algorithm` is what was asked for."""
    direction = _direction(geometry)
    if is_depthwise(weight.shape, geometry.groups):
        return PreparedWeight(weight, depthwise.algorithm(weight, direction, geometry.stride), None, geometry)
    problem, make_run = _problem(weight, input_shape, geometry, precision)
    chosen, _ = choose(direction, problem, algorithm, make_run)
    if chosen is DIRECT[direction] and not all_finite(weight):
        return PreparedWeight(weight, TAPS[direction], None, geometry)
    if chosen is DIRECT["backward_input"] and few_channels.suits(weight, geometry.groups):
        return PreparedWeight(weight, FEW, None, geometry)
    return _prepare(chosen, weight, input_shape, geometry, workspace)


def run(x, weight, bias, out, workspace, epilogue=NOTHING_MORE):
    """Compute a convolution with a prepared weight, and what follows it."""
    algorithm = weight.algorithm
    source = x if algorithm.bf16_storage else widened(x, workspace)

    def convolve(y, epilogue):
        if algorithm.fuses:
            algorithm.function(source, weight, bias, weight.geometry, epilogue, y, workspace)
        else:
            _run_plain(source, weight, bias, y, workspace, epilogue)

    stored = out.dtype if algorithm.bf16_storage else weight.weight.dtype
    in_register_type(convolve, epilogue, out, stored, workspace)


def _run_plain(x, weight, bias, out, workspace, epilogue):
    """Launch a kernel that has nothing fused after it, and what follows.

    Those of depthwise convolutions are bound by memory, and rarely followed by anything but a normalisation.
    """
    activation, addend, statistics, before = epilogue
    y = out if before is None else before
    result = workspace.empty(out.shape, out.dtype) if addend is y else y
    weight.algorithm.function(x, weight, bias, weight.geometry, NOTHING_MORE, result, workspace)
    if addend is not None:
        add(result, addend, out=y)
    if activation is not None:
        activate(activation, y, out=out)
    if statistics is not None:
        batch_norm.statistics(out, *statistics, workspace)


def conv2d_backward_weight(grad_output, x, *, geometry, precision, algorithm, out, workspace):
    """Gradient with respect to the weight; `algorithm` is what was asked for."""
    chosen = DIRECT["backward_weight"]
    if is_depthwise(out.shape, geometry.groups):
        chosen = DEPTHWISE["backward_weight"]
    elif grad_output.size:
        chosen = weight_algorithm(out, x.shape, geometry, precision, algorithm)
    _backward_weight(chosen, grad_output, x, geometry, out, workspace)


def weight_algorithm(weight, input_shape, geometry, precision, algorithm):
    """Return what computes the gradient of a weight; `algorithm` is what was asked for."""
    problem, make_run = _problem(weight, input_shape, geometry, precision)
    return choose("backward_weight", problem, algorithm, make_run)[0]


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
    elif algorithm.form != "bf16" and any(map(any, geometry.padding)):
        if is_recording():  # nothing is computed yet
            expect_finite(out)
        elif not all_finite(out):
            taps.backward_weight(widened(grad_output, workspace), x, geometry, out, workspace)
