"""Every operation as a function of arrays: checks its arguments, allocates the result and calls the active backend.

Layouts: activations (N, H, W, C), convolution weights (R, S, C // groups, K), dense weights (C, K). Arrays are float32
or float64, all of one call the same, and belong to the active backend; an array in another memory order or byte order
is copied first. Inputs are never written, results are new.

Geometric arguments: `stride`, `dilation` and `kernel_size` take an int or a pair (h, w); `padding` takes an int, a
pair, ((top, bottom), (left, right)), "valid" (none) or "same" (output ``ceil(size / stride)``, odd cell at the end).

Every function raises `ShapeError`, `DTypeError`, `ArgumentError` or `BackendMismatchError` for what it does not take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastconv import _validate as check
from fastconv._activations import FUNCTIONS
from fastconv._conv_transpose import conv_transpose2d
from fastconv._convolution import (
    conv2d,
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
    sum_rows,
)
from fastconv._pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    global_max_pool2d,
    global_max_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, RandomKey
from fastconv.errors import ArgumentError
from fastconv.kernels.epilogue import NO_EPILOGUE
from fastconv.kernels.losses import LOSSES
from fastconv.precision import get_precision

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_inference",
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv_transpose2d",
    "dense",
    "dense_backward_bias",
    "dense_backward_input",
    "dense_backward_weight",
    "dropout",
    "dropout_backward",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "global_max_pool2d",
    "global_max_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "softmax_cross_entropy",
]
__all__.extend(FUNCTIONS)
__all__.sort()
globals().update(FUNCTIONS)
if TYPE_CHECKING:  # the pointwise functions, which are in a list

    def __getattr__(name: str) -> Callable[..., Array]: ...


_BATCH = "(N, H, W, C) or (N, C)"


def dense(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``y[n, k] = bias[k] + sum over c of x[n, c] * weight[c, k]``: (N, C), (C, K), (K,) -> (N, K)."""
    backend = get_backend()
    x = check.floating(backend, x, "x", "(N, C)")
    weight = check.like(backend, weight, "weight", x, "x", "(C, K)")
    check.not_empty(x.shape, "x")
    check.not_empty(weight.shape, "weight", but_first=False)
    check.has_shape(weight, "weight", (x.shape[1], weight.shape[1]), "(C, K) for the C features of x")
    if bias is not None:
        bias = check.like(backend, bias, "bias", x, "x", "(K,)")
        check.has_shape(bias, "bias", weight.shape[1:], "one for each output of weight")
    prepared = backend.prepare_dense_weight(
        weight, direction="forward", batch=len(x), precision=get_precision(), workspace=backend.pool
    )
    out = backend.empty((x.shape[0], weight.shape[1]), x.dtype)
    backend.dense(x, prepared, bias, out=out, workspace=backend.pool)
    return out


def dense_backward_input(grad_output: Array, weight: Array) -> Array:
    """``grad_input[n, c] = sum over k of grad_output[n, k] * weight[c, k]``: (N, K), (C, K) -> (N, C)."""
    backend = get_backend()
    grad_output = check.floating(backend, grad_output, "grad_output", "(N, K)")
    weight = check.like(backend, weight, "weight", grad_output, "grad_output", "(C, K)")
    check.not_empty(grad_output.shape, "grad_output")
    check.not_empty(weight.shape, "weight", but_first=False)
    check.has_shape(weight, "weight", (weight.shape[0], grad_output.shape[1]), "(C, K) for the K of grad_output")
    prepared = backend.prepare_dense_weight(
        weight,
        direction="backward_input",
        batch=len(grad_output),
        precision=get_precision(),
        workspace=backend.pool,
    )
    out = backend.empty((grad_output.shape[0], weight.shape[0]), grad_output.dtype)
    backend.dense_backward_input(grad_output, prepared, out=out, workspace=backend.pool)
    return out


def dense_backward_weight(grad_output: Array, x: Array) -> Array:
    """``grad_weight[c, k] = sum over n of x[n, c] * grad_output[n, k]``: (N, K), (N, C) -> (C, K)."""
    backend = get_backend()
    x = check.floating(backend, x, "x", "(N, C)")
    grad_output = check.like(backend, grad_output, "grad_output", x, "x", "(N, K)")
    check.not_empty(x.shape, "x")
    check.not_empty(grad_output.shape, "grad_output")
    check.has_shape(grad_output, "grad_output", (x.shape[0], grad_output.shape[1]), "(N, K) for the batch of x")
    out = backend.empty((x.shape[1], grad_output.shape[1]), x.dtype)
    backend.dense_backward_weight(grad_output, x, precision=get_precision(), out=out, workspace=backend.pool)
    return out


def dense_backward_bias(grad_output: Array) -> Array:
    """``grad_bias[k] = sum over n of grad_output[n, k]``: (N, K) -> (K,)."""
    return sum_rows(grad_output, "(N, K)")


def batch_norm(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> tuple[Array, Array, Array]:
    """Normalise each channel with the statistics of this batch.

    ``y = gamma * (x - mean) / sqrt(var + eps) + beta`` (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167).

    Parameters
    ----------
    x : (N, H, W, C) or (N, C) array, at least one element a channel
    gamma, beta : (C,) arrays

    Returns
    -------
    y, mean, var : arrays shaped as `x`, (C,) and (C,); `var` is the biased variance, divided by the count
    """
    backend = get_backend()
    x = _batch_norm_input(backend, x)
    gamma, beta = (_per_channel(backend, a, name, x) for a, name in ((gamma, "gamma"), (beta, "beta")))
    eps = check.number(eps, "eps", low=0, open_low=True)
    out, mean, var = (backend.empty(shape, x.dtype) for shape in (x.shape, (2, *gamma.shape), (2, *gamma.shape)))
    backend.batch_norm(x, gamma, beta, eps=eps, out=out, mean=mean, var=var, workspace=backend.pool)
    return out, mean[0], var[0]


def batch_norm_backward(
    grad_output: Array, x: Array, gamma: Array, mean: Array, var: Array, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Return ``(grad_input, grad_gamma, grad_beta)`` of `batch_norm`; `mean` and `var` are those that it returned."""
    backend = get_backend()
    x = _batch_norm_input(backend, x)
    grad_output = check.like(backend, grad_output, "grad_output", x, "x")
    check.has_shape(grad_output, "grad_output", x.shape, "the shape of x")
    gamma, mean, var = (
        _per_channel(backend, a, name, x) for a, name in ((gamma, "gamma"), (mean, "mean"), (var, "var"))
    )
    eps = check.number(eps, "eps", low=0, open_low=True)
    shapes = x.shape, gamma.shape, gamma.shape
    grad_input, grad_gamma, grad_beta = (backend.empty(shape, x.dtype) for shape in shapes)
    backend.batch_norm_backward(
        grad_output,
        x,
        gamma,
        mean,
        var,
        NO_EPILOGUE,
        eps=eps,
        grad_input=grad_input,
        grad_gamma=grad_gamma,
        grad_beta=grad_beta,
        workspace=backend.pool,
    )
    return grad_input, grad_gamma, grad_beta


def batch_norm_inference(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, *, eps: float = 1e-5) -> Array:
    """``y = gamma * (x - mean) / sqrt(var + eps) + beta`` with the statistics given; `x` is (N, H, W, C) or (N, C)."""
    backend = get_backend()
    x = check.floating(backend, x, "x", _BATCH)
    check.not_empty(x.shape, "x")
    gamma, beta, mean, var = (
        _per_channel(backend, a, name, x)
        for a, name in ((gamma, "gamma"), (beta, "beta"), (mean, "mean"), (var, "var"))
    )
    out = backend.empty(x.shape, x.dtype)
    eps = check.number(eps, "eps", low=0, open_low=True)
    backend.normalise(x, gamma, beta, mean, var, NO_EPILOGUE, eps=eps, out=out, workspace=backend.pool)
    return out


def _batch_norm_input(backend: Backend, x: Array) -> Array:
    x = check.floating(backend, x, "x", _BATCH)
    check.not_empty(x.shape, "x", but_first=False)  # the mean of nothing is not a number
    return x


def _per_channel(backend: Backend, value: Array, name: str, x: Array) -> Array:
    value = check.like(backend, value, name, x, "x", "(C,)")
    check.has_shape(value, name, x.shape[-1:], "one for each channel of x")
    return value


def softmax_cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> tuple[Array, Array]:
    """Mean over the batch of the cross-entropy of the softmax, and its gradient.

    ``loss = -1/N * sum over n, k of target[n, k] * log(softmax(logits)[n, k])`` with
    ``target = (1 - label_smoothing) * onehot(label) + label_smoothing / K`` (https://arxiv.org/abs/1512.00567).

    Parameters
    ----------
    logits : (N, K) array
    labels : (N,) array of integers, each in [0, K)
    label_smoothing : float
        At least 0 and below 1.

    Returns
    -------
    loss, grad_logits : () and (N, K) arrays; the loss of an empty batch is 0
    """
    backend = get_backend()
    logits = check.floating(backend, logits, "logits", "(N, K)")
    check.not_empty(logits.shape, "logits")
    labels = check.labels(backend, labels, "labels", batch=logits.shape[0], classes=logits.shape[1])
    smoothing = check.number(label_smoothing, "label_smoothing", low=0, high=1)
    loss, grad_logits = backend.empty((), logits.dtype), backend.empty(logits.shape, logits.dtype)
    backend.loss_and_grad(
        *(LOSSES["softmax_cross_entropy"](smoothing), logits, labels),
        channel_weight=None,
        sample_weight=None,
        ignore_index=None,
        mean=True,
        loss=loss,
        grad=grad_logits,
        workspace=backend.pool,
    )
    return loss, grad_logits


def dropout(x: Array, p: float, *, key: RandomKey) -> Array:
    """Zero each element with probability `p` (at least 0, below 1), multiply the others by ``1 / (1 - p)``.

    The same `key` gives the same mask on every backend: Philox4x32-10 of the element's number. (Srivastava et al.,
    JMLR 2014)
    """
    return _dropout(x, "x", p, key)


def dropout_backward(grad_output: Array, p: float, *, key: RandomKey) -> Array:
    """Gradient of `dropout` with the same `p` and `key`: the same mask and factor."""
    return _dropout(grad_output, "grad_output", p, key)


def _dropout(x: Array, name: str, p: float, key: RandomKey) -> Array:
    backend = get_backend()
    x = check.floating(backend, x, name)
    p = check.number(p, "p", low=0, high=1)
    if not isinstance(key, RandomKey):
        raise ArgumentError(f"key: got {key!r}; allowed: a RandomKey(seed, stream, step)")
    out = backend.empty(x.shape, x.dtype)
    backend.dropout(x, p=p, key=key, out=out)
    return out
