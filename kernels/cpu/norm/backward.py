"""Gradients of a batch normalisation: the launches of the kernels in batch_norm_gradient.py and pool_gradient.py."""

import numpy as np

from ...epilogue import Epilogue
from ..elementwise.following import following, is_floor
from ..elementwise.pointwise import activate_backward
from ..pool.max_pool import max_pool2d_backward
from ..pool.windows import suits_pool
from ..runtime.launch import launch
from ..vector.bf16_storage import widened
from ..vector.memory import NOTHING, or_nothing
from ..vector.simd import STREAM_BYTES, VECTOR_BYTES
from .batch_norm_gradient import (
    NO_DISTANCES,
    PART_ROWS,
    batch_norm_gradient_apply,
    batch_norm_gradient_sums,
    combine_gradients,
    gradient_constants,
    rests_of,
    sum_scratch,
)
from .pool_gradient import batch_norm_pool_gradient_apply, batch_norm_pool_gradient_sums

_BLOCK_BYTES = 64 * 1024


def _sums(grad, saved, x, norm, follows, masked, results, workspace, *, find_rest=False):
    """Launch the first pass over arrays as rows; `saved` and `masked` are flat, or empty. Return the rests of the mean.

    They are found in x where that is asked for and they are not there. `norm` is (gamma, beta, mean, var, eps),
    `results` (grad_gamma, grad_beta).
    """
    gamma, beta, mean, var, eps = norm
    parts, channels = -(-len(x) // PART_ROWS), mean.shape[-1]
    sums, products = (workspace.empty((parts, channels), np.float64) for _ in range(2))
    find_rest = find_rest and mean.ndim == 1
    distances = workspace.empty((parts, channels), np.float64) if find_rest else NO_DISTANCES
    rests = workspace.empty((channels,), mean.dtype) if find_rest else rests_of(mean)
    mean, var = mean.reshape(-1), var.reshape(-1)
    norm = gamma, beta, mean, var, float(eps)
    arguments = (grad, saved, x, norm, follows, masked, (sums, products, distances))
    launch(batch_norm_gradient_sums, parts, *arguments, scratch=sum_scratch(channels, mean.dtype))
    launch(combine_gradients, 1, sums, products, distances, len(x), mean, rests, var, float(eps), *results)
    return rests


def _constants(rows, grad_gamma, grad_beta, gamma, rests, var, eps, workspace):
    constants = workspace.empty((4, gamma.size), gamma.dtype)
    launch(gradient_constants, 1, rows, grad_gamma, grad_beta, gamma, rests, var.reshape(-1), float(eps), constants)
    return constants


def _apply(grad, y, x, grad_addend, mean, constants, grad_input):
    """Launch the second pass over arrays as rows; `y` and `grad_addend` are flat, or empty."""
    row_bytes = mean.shape[-1] * mean.itemsize
    block_rows = max(1, _BLOCK_BYTES // (2 * row_bytes))
    apart = grad.ctypes.data not in (grad_addend.ctypes.data, grad_input.ctypes.data)  # not over what was just read
    addresses = (row_bytes, grad_input.ctypes.data, grad_addend.ctypes.data if grad_addend.size else 0)
    stream = grad_input.nbytes >= STREAM_BYTES and apart and not any(n % VECTOR_BYTES for n in addresses)
    launch(
        *(batch_norm_gradient_apply, -(-len(x) // block_rows), grad, y, x, mean.reshape(-1), constants),
        *(grad_input, grad_addend, block_rows, stream),
    )


def _kept(activation, grad_addend, grad_input, gamma, workspace):
    """Return where the first pass writes the activation's gradient, for the second: nowhere for a rectifier."""
    if is_floor(following(activation)):
        return NOTHING[gamma.dtype]
    if grad_addend is not None:
        return grad_addend
    return grad_input if grad_input.dtype == gamma.dtype else workspace.empty(grad_input.shape, gamma.dtype)


def saved_of(activation, y, addend, dtype):
    """Return what the gradient of an activation is computed from besides x, as a flat array, or an empty one."""
    needs_x = activation is not None and activation.function.needs == "x"
    array = addend if needs_x else y
    return or_nothing(None if activation is None else array, dtype).reshape(-1)


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
    """Gradients of a normalisation and of what follows it; in two passes unless that is a pooling of some windows."""
    norm = gamma, gamma if beta is None else beta, mean, var, eps
    if epilogue.windows is not None:
        results = grad_input, grad_gamma, grad_beta
        if not epilogue.adds and suits_pool(x.shape, grad_output.shape, epilogue.windows):
            _backward_pooled((grad_output, saved, argmax), x, norm, epilogue.activation, results, workspace)
            return
        grad_output, epilogue = _unpooled(grad_output, x, epilogue, saved, argmax, gamma.dtype, workspace)
    rows, grad, nothing = x.reshape(-1, gamma.size), grad_output.reshape(-1, gamma.size), NOTHING[gamma.dtype]
    kept = _kept(epilogue.activation, grad_addend, grad_input, gamma, workspace)
    before = saved_of(epilogue.activation, saved, addend, gamma.dtype)
    follows, results = following(epilogue.activation), (grad_gamma, grad_beta)
    rests = _sums(grad, before, rows, norm, follows, kept.reshape(-1), results, workspace, find_rest=True)
    constants = _constants(len(rows), grad_gamma, grad_beta, gamma, rests, var, eps, workspace)
    if kept.size:
        _apply(kept.reshape(rows.shape), nothing, rows, nothing, mean, constants, grad_input)
    else:
        shortcut = nothing if grad_addend is None else grad_addend.reshape(-1)
        _apply(grad, before, rows, shortcut, mean, constants, grad_input)


def activation_sums(activation, saved, x, norm, results, workspace):
    """The gradient in `results`, (grad, grad_gamma, grad_beta), through the activation, and those of gamma and beta."""
    grad, *sums = results
    rows, gradients = x.reshape(-1, grad.shape[-1]), grad.reshape(-1, grad.shape[-1])
    _sums(gradients, saved, rows, norm, following(activation), grad.reshape(-1), sums, workspace)


def batch_norm_backward_apply(grad_output, x, gamma, mean, var, *, grad_gamma, grad_beta, eps, grad_input, workspace):
    """The gradient of x from those of gamma and beta."""
    rows, grad = x.reshape(-1, gamma.size), grad_output.reshape(-1, gamma.size)
    nothing = NOTHING[gamma.dtype]
    constants = _constants(len(rows), grad_gamma, grad_beta, gamma, rests_of(mean), var, eps, workspace)
    _apply(grad, nothing, rows, nothing, mean, constants, grad_input)


def _backward_pooled(pooled, x, norm, activation, results, workspace):
    """Launch the two passes through an activation and a max pooling of 2x2; `pooled` is (gradient, y, argmax)."""
    (grad_output, saved, argmax), (gamma, beta, mean, var, eps) = pooled, norm
    grad_input, grad_gamma, grad_beta = results
    sums, products = (workspace.empty((x.shape[0], gamma.size), np.float64) for _ in range(2))
    rests, flat_mean, flat_var = rests_of(mean), mean.reshape(-1), var.reshape(-1)
    follows, nothing = following(activation), NOTHING[gamma.dtype]
    kept = nothing if is_floor(follows) else workspace.empty(grad_output.shape, gamma.dtype)
    before = saved_of(activation, saved, None, gamma.dtype)
    norm = gamma, beta, flat_mean, flat_var, float(eps)
    arguments = ((grad_output, before, argmax), x, norm, follows, kept.reshape(-1), sums, products)
    launch(batch_norm_pool_gradient_sums, x.shape[0], *arguments, scratch=sum_scratch(gamma.size, gamma.dtype))
    more = (flat_mean, rests, flat_var, float(eps), grad_gamma, grad_beta)
    launch(combine_gradients, 1, sums, products, NO_DISTANCES, 0, *more)
    constants = _constants(x.size // gamma.size, grad_gamma, grad_beta, gamma, rests, var, eps, workspace)
    pooled = (grad_output, before, argmax) if is_floor(follows) else (kept, nothing, argmax)
    arguments = (pooled, x, flat_mean, constants, grad_input)
    launch(batch_norm_pool_gradient_apply, x.shape[0] * -(-x.shape[1] // 2), *arguments)


def _unpooled(grad_output, x, epilogue, saved, argmax, dtype, workspace):
    """Return the gradient before a pooling, and what of the epilogue is left: of the largest, y tells all."""
    rest, activation = epilogue.unpooled, epilogue.activation
    if activation is not None and activation.function.needs == "y":
        grad_before = workspace.empty(saved.shape, dtype)
        activate_backward(activation, grad_output, widened(saved, workspace), out=grad_before)
        grad_output, rest = grad_before, Epilogue(epilogue.adds)
    grad = workspace.empty(x.shape, dtype)
    max_pool2d_backward(grad_output, argmax, windows=epilogue.windows, out=grad)
    return grad, rest
