"""Gradients of a batch normalisation: the launches of the kernels in batch_norm_gradient.py."""

import numpy as np

from ..elementwise.maps import copy
from ..elementwise.pointwise import activate_backward
from ..pool.max_pool import max_pool2d_backward
from ..pool.windows import suits_pool
from ..runtime.launch import launch
from ..vector.bf16_storage import widened
from ..vector.simd import STREAM_BYTES, VECTOR_BYTES
from .batch_norm_gradient import (
    NO_DISTANCES,
    NOTHING,
    PART_ROWS,
    batch_norm_gradient_apply,
    batch_norm_gradient_sums,
    batch_norm_pool_gradient_apply,
    batch_norm_pool_gradient_sums,
    combine_gradients,
    gradient_constants,
    rests_of,
    sum_scratch,
)

_BLOCK_BYTES = 64 * 1024


def _sums(grad, y, x, statistics, masked, results, workspace, *, find_rest=False):
    """Launch the first pass over arrays as rows; `y` and `masked` are flat, or empty. Return the rests of the mean.

    They are found in x where that is asked for and they are not there. `statistics` is (mean, var, eps), `results`
    (grad_gamma, grad_beta).
    """
    mean, var, eps = statistics
    parts, channels = -(-len(x) // PART_ROWS), mean.shape[-1]
    sums, products = (workspace.empty((parts, channels), np.float64) for _ in range(2))
    find_rest = find_rest and mean.ndim == 1
    distances = workspace.empty((parts, channels), np.float64) if find_rest else NO_DISTANCES
    rests = workspace.empty((channels,), mean.dtype) if find_rest else rests_of(mean)
    mean, var = mean.reshape(-1), var.reshape(-1)
    arguments = (grad, y, x, (mean, var, float(eps)), masked, sums, products, distances)
    launch(batch_norm_gradient_sums, parts, *arguments, scratch=sum_scratch(channels, mean.dtype))
    launch(combine_gradients, 1, sums, products, distances, len(x), mean, rests, var, float(eps), *results)
    return rests


def _constants(rows, grad_gamma, grad_beta, gamma, rests, var, eps, workspace):
    constants = workspace.empty((4, gamma.size), gamma.dtype)
    launch(gradient_constants, 1, rows, grad_gamma, grad_beta, gamma, rests, var.reshape(-1), float(eps), constants)
    return constants


def _apply(grad, y, x, residual, mean, constants, grad_input):
    """Launch the second pass over arrays as rows; `y` and `residual` are flat, or empty."""
    row_bytes = mean.shape[-1] * mean.itemsize
    block_rows = max(1, _BLOCK_BYTES // (2 * row_bytes))
    apart = residual.ctypes.data != grad.ctypes.data  # not over what was just read
    addresses = (row_bytes, grad_input.ctypes.data, residual.ctypes.data if residual.size else 0)
    stream = grad_input.nbytes >= STREAM_BYTES and apart and not any(n % VECTOR_BYTES for n in addresses)
    launch(
        *(batch_norm_gradient_apply, -(-len(x) // block_rows), grad, y, x, mean.reshape(-1), constants),
        *(grad_input, residual, block_rows, stream),
    )


def _backward(grad_output, y, residual, x, gamma, mean, var, eps, *, grad_input, grad_gamma, grad_beta, workspace):
    """Launch both passes; `y` and `residual` may be empty."""
    rows, grad = x.reshape(-1, gamma.size), grad_output.reshape(-1, gamma.size)
    y, residual, nothing = y.reshape(-1), residual.reshape(-1), NOTHING[gamma.dtype]
    results = grad_gamma, grad_beta
    rests = _sums(grad, y, rows, (mean, var, eps), nothing, results, workspace, find_rest=True)
    constants = _constants(len(rows), grad_gamma, grad_beta, gamma, rests, var, eps, workspace)
    _apply(grad, y, rows, residual, mean, constants, grad_input)


def batch_norm_backward(
    grad_output,
    x,
    gamma,
    mean,
    var,
    epilogue,
    *,
    beta=None,
    saved=None,
    addend=None,
    argmax=None,
    eps,
    grad_input,
    grad_gamma,
    grad_beta,
    grad_addend=None,
    workspace,
):
    """Gradients of `batch_norm` with what followed it; of activations, there is the rectifier."""
    nothing, windows = NOTHING[gamma.dtype], epilogue.windows
    rectified = epilogue.activation is not None
    norm = (x, gamma, mean, var, eps)
    grads = {"grad_input": grad_input, "grad_gamma": grad_gamma, "grad_beta": grad_beta, "workspace": workspace}
    if windows is not None:
        if rectified and not epilogue.adds and suits_pool(x.shape, grad_output.shape, windows):
            _backward_pooled(grad_output, saved, argmax, *norm, **grads)
            return
        if rectified:
            behind = workspace.empty(grad_output.shape, gamma.dtype)
            activate_backward(epilogue.activation, grad_output, widened(saved, workspace), out=behind)
            grad_output, rectified = behind, False
        grad = workspace.empty(x.shape, gamma.dtype)
        max_pool2d_backward(grad_output, argmax, windows=windows, out=grad)
        grad_output = grad
    if epilogue.adds and not rectified:
        if grad_addend is not grad_output:
            copy(grad_output, out=grad_addend)
        grad_addend = None
    addends = nothing if grad_addend is None else grad_addend
    _backward(grad_output, saved if rectified else nothing, addends, *norm, **grads)


def relu_sums(grad_output, y, x, *, mean, var, eps, out, grad_gamma, grad_beta, workspace):
    """The gradient behind the rectifier, and those of gamma and beta."""
    channels = mean.shape[-1]
    rows, grad = x.reshape(-1, channels), grad_output.reshape(-1, channels)
    _sums(grad, y.reshape(-1), rows, (mean, var, eps), out.reshape(-1), (grad_gamma, grad_beta), workspace)


def batch_norm_backward_apply(grad_output, x, gamma, mean, var, *, grad_gamma, grad_beta, eps, grad_input, workspace):
    """The gradient of x from those of gamma and beta."""
    rows, grad = x.reshape(-1, gamma.size), grad_output.reshape(-1, gamma.size)
    nothing = NOTHING[gamma.dtype]
    constants = _constants(len(rows), grad_gamma, grad_beta, gamma, rests_of(mean), var, eps, workspace)
    _apply(grad, nothing, rows, nothing, mean, constants, grad_input)


def _backward_pooled(grad_output, y, argmax, x, gamma, mean, var, eps, *, grad_input, grad_gamma, grad_beta, workspace):
    """Launch the two passes behind a rectifier and a max pooling of 2x2."""
    sums, products = (workspace.empty((x.shape[0], gamma.size), np.float64) for _ in range(2))
    rests, flat_mean, flat_var = rests_of(mean), mean.reshape(-1), var.reshape(-1)
    arguments = (grad_output, y, argmax, x, flat_mean, flat_var, float(eps), sums, products)
    launch(batch_norm_pool_gradient_sums, x.shape[0], *arguments, scratch=sum_scratch(gamma.size, gamma.dtype))
    more = (flat_mean, rests, flat_var, float(eps), grad_gamma, grad_beta)
    launch(combine_gradients, 1, sums, products, NO_DISTANCES, 0, *more)
    constants = _constants(x.size // gamma.size, grad_gamma, grad_beta, gamma, rests, var, eps, workspace)
    arguments = (grad_output, y, argmax, x, flat_mean, constants, grad_input)
    launch(batch_norm_pool_gradient_apply, x.shape[0] * -(-x.shape[1] // 2), *arguments)
