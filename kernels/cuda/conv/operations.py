"""Convolution and dense layers on the GPU, as the contract has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...geometry import DENSE_GEOMETRY
from ...prepared import PreparedWeight
from ..elementwise.reduce import sum_rows
from ..norm import batch_norm
from ..pool.max_pool import max_pool2d
from . import weight_gradient
from .choice import DEPTHWISE, MATHS, PLAIN, TENSOR, choose, product_geometry
from .conv2d import Finish, pack_weight, run


def conv2d_reasons(device, weight, *, geometry, input_shape, precision, algorithm):
    """Say why each direction gets its algorithm."""
    both = (product_geometry(way, weight.shape) for way in (geometry, geometry.transposed()))
    chosen = [choose(weight, way, precision, input_shape) for way in both]
    names = [found.name for found in chosen]
    if chosen[0] is DEPTHWISE:
        why, names = "one input channel for each output", [*names, "conv2d_depthwise_weight"]
    elif chosen[0] is PLAIN:
        why = f"{weight.dtype} is never rounded" if weight.dtype != np.float32 else "strict precision is never rounded"
        names = [*names, "conv2d_weight_plain"]
    else:
        math_ = MATHS[precision].lower()
        why = f"float32 in {precision} precision goes to the tensor cores as {math_}"
        names = [*names, f"conv2d_weight_{math_}"]
    directions = ("forward", "backward-input", "backward-weight")
    return [f"{direction} {name}: {why}" for direction, name in zip(directions, names, strict=True)]


def prepare_conv2d_weight(device, weight, *, geometry, input_shape, precision, algorithm, workspace):
    """Choose the kernel for one direction and bring the weight into its form."""
    return _prepared(device, weight, weight, geometry, input_shape, precision, workspace)


def prepare_dense_weight(device, weight, *, direction, batch, precision, workspace):
    """Do so for a dense layer: a 1x1 convolution of maps of one pixel."""
    geometry = DENSE_GEOMETRY if direction == "forward" else DENSE_GEOMETRY.transposed()
    shape = (batch, 1, 1, weight.shape[0])
    return _prepared(device, weight, _as_kernel(weight), geometry, shape, precision, workspace)


def _prepared(device, weight, kernel, geometry, input_shape, precision, workspace):
    product = product_geometry(geometry, kernel.shape)
    chosen, packed = choose(kernel, product, precision, input_shape), None
    if chosen in TENSOR.values():
        packed = pack_weight(device, kernel, product, chosen.multiplies, workspace)
    return PreparedWeight(weight, chosen, packed, geometry)


def conv2d(device, x, weight, bias, epilogue, *, addend=None, out, before=None, argmax=None, workspace):
    """Convolution, addition and activation."""
    finish = Finish(out, bias, addend, epilogue.activation, before=before)
    run(device, x, weight, finish, workspace)


def conv2d_statistics(device, x, weight, bias, epilogue, *, out, argmax=None, mean, var, workspace):
    """Convolution, then the pooling if there is one, then mean and variance of the result."""
    y, windows = out, epilogue.windows
    if windows is not None:
        size = weight.geometry.output_size(*x.shape[1:3])
        y = workspace.empty((x.shape[0], *size, out.shape[3]), out.dtype)
    run(device, x, weight, Finish(y, bias, activation=epilogue.activation), workspace)
    if windows is not None:
        max_pool2d(device, y, windows=windows, out=out, argmax=argmax)
    batch_norm.statistics(device, out, mean=mean, var=var, workspace=workspace)


def conv2d_backward_input(
    device, grad_output, weight, *, bias=None, addend=None, activation=None, saved=None, grad_bias=None, out, workspace
):
    """Gradient of the input, plus `bias` or `addend`, through the activation; that of a bias takes a pass of its own.

    Summed with the tiles it would need the warps of a block to meet after their last product, and have other bits.
    """
    run(device, grad_output, weight, Finish(out, bias, addend, activation, saved), workspace)
    if grad_bias is not None:
        sum_rows(device, out, out=grad_bias, workspace=workspace)


def conv2d_backward_weight(device, grad_output, x, *, geometry, precision, algorithm, out, workspace):
    """Gradient of the weight."""
    product = product_geometry(geometry, out.shape)
    weight_gradient.backward_weight(device, grad_output, x, product, precision=precision, out=out, workspace=workspace)


def dense(device, x, weight, bias, *, out, workspace):
    """Matrix product."""
    run(device, _as_map(x), _as_prepared(weight), Finish(_as_map(out), bias), workspace)


def dense_backward_input(device, grad_output, weight, *, out, workspace):
    """Gradient of the input."""
    run(device, _as_map(grad_output), _as_prepared(weight), Finish(_as_map(out)), workspace)


def dense_backward_weight(device, grad_output, x, *, precision, out, workspace):
    """Gradient of the weight."""
    how = {"geometry": DENSE_GEOMETRY, "precision": precision, "algorithm": "shapes", "workspace": workspace}
    conv2d_backward_weight(device, _as_map(grad_output), _as_map(x), **how, out=_as_kernel(out))


def _as_map(array):
    """Return a batch of features as maps of one pixel."""
    return array.reshape((array.shape[0], 1, 1, array.shape[1]))


def _as_kernel(weight):
    """Return a dense weight as that of a 1x1 convolution."""
    return weight.reshape((1, 1, *weight.shape))


def _as_prepared(prepared):
    """Return a prepared dense weight as that of the convolution."""
    return replace(prepared, weight=_as_kernel(prepared.weight))
