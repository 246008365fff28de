"""Operations as functions of arrays: each checks its arguments, allocates the result and calls the active backend.

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
from fastconv._attributes import tells_names
from fastconv._conv_transpose import conv_transpose2d
from fastconv._convolution import conv2d, conv2d_backward_bias, conv2d_backward_input, conv2d_backward_weight
from fastconv._dense import dense, dense_backward_bias, dense_backward_input, dense_backward_weight
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

else:
    __getattr__ = tells_names(__name__)


_BATCH = "(N, H, W, C) or (N, C)"


def batch_norm(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> tuple[Array, Array, Array]:
    """Normalise each channel with the statistics of this batch.

    ``y = gamma * (x - mean) / sqrt(var + eps) + beta`` (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167).

    Parameters
    ----------
    x : (N, H, W, C) or (N, C) array
        At least one element a channel.
    gamma, beta : (C,) arrays
        Scale and shift of each channel.
    eps : float
        Above 0; keeps the root away from zero.

    Returns
    -------
    y : array
        Shaped as `x`.
    mean, var : (C,) arrays
        Of this batch; `var` is the biased variance, divided by the count.

    Examples
    --------
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, mean, var = fc.functional.batch_norm(x, np.ones(2), np.zeros(2))
    >>> y.round(3), mean, var
    (array([[-1., -1.],
           [ 1.,  1.]]), array([ 2., 20.]), array([  1., 100.]))
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
    """Return ``(grad_input, grad_gamma, grad_beta)`` of `batch_norm`; `mean` and `var` are those that it returned.

    Parameters
    ----------
    grad_output : array
        Gradient of y, shaped as `x`.
    x : (N, H, W, C) or (N, C) array
        What was normalised.
    gamma : (C,) array
        As in `batch_norm`.
    mean, var : (C,) arrays
        What `batch_norm` returned.
    eps : float
        As in `batch_norm`.

    Returns
    -------
    grad_input : array
        Shaped as `x`.
    grad_gamma, grad_beta : (C,) arrays
        Gradients of the parameters.

    Examples
    --------
    >>> x, gamma, grad = np.array([[1.0], [2.0], [6.0]]), np.ones(1), np.array([[1.0], [0.0], [0.0]])
    >>> y, mean, var = fc.functional.batch_norm(x, gamma, np.zeros(1))
    >>> grad_input, grad_gamma, grad_beta = fc.functional.batch_norm_backward(grad, x, gamma, mean, var)
    >>> grad_input.round(3).ravel().tolist(), grad_gamma.round(3).tolist(), grad_beta.tolist()
    ([0.176, -0.22, 0.044], [-0.926], [1.0])
    """
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
    """``y = gamma * (x - mean) / sqrt(var + eps) + beta`` with the statistics given; `x` is (N, H, W, C) or (N, C).

    Parameters
    ----------
    x : (N, H, W, C) or (N, C) array
        What is normalised.
    gamma, beta, mean, var : (C,) arrays
        One of each for each channel.
    eps : float
        Above 0.

    Returns
    -------
    array
        Shaped as `x`.

    Examples
    --------
    >>> x, one = np.array([[1.0], [3.0]]), np.ones(1)
    >>> fc.functional.batch_norm_inference(x, one, np.zeros(1), 2 * one, one).round(3).ravel()
    array([-1.,  1.])
    """
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
        A row of scores for each sample, float32 or float64.
    labels : (N,) array of integers
        Each in [0, K).
    label_smoothing : float
        At least 0 and below 1.

    Returns
    -------
    loss : () array
        The mean; 0 of an empty batch.
    grad_logits : (N, K) array
        Its gradient.

    Examples
    --------
    >>> loss, grad = fc.functional.softmax_cross_entropy(np.zeros((1, 2)), np.array([1]))
    >>> float(loss.round(4)), grad
    (0.6931, array([[ 0.5, -0.5]]))
    """
    backend = get_backend()
    logits = check.floating(backend, logits, "logits", "(N, K)")
    check.not_empty(logits.shape, "logits")
    labels = check.labels(backend, labels, "labels", batch=logits.shape[0], classes=logits.shape[1])
    function = LOSSES["softmax_cross_entropy"]
    smoothing = check.scalar(label_smoothing, function.parameters[0])
    loss, grad_logits = backend.empty((), logits.dtype), backend.empty(logits.shape, logits.dtype)
    backend.loss_and_grad(
        function(smoothing),
        logits,
        labels,
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

    Parameters
    ----------
    x : array
        Of any shape, float32 or float64.
    p : float
        Share of the elements that become zero, at least 0, below 1.
    key : RandomKey
        Which random numbers, as ``fc.random.next_key()`` gives it, also within ``fc.random.stream(seed, step)``.

    Returns
    -------
    array
        Shaped as `x`.

    Examples
    --------
    >>> with fc.random.stream(seed=0, step=0):
    ...     key = fc.random.next_key()
    >>> fc.functional.dropout(np.ones(8), 0.5, key=key)
    array([0., 2., 2., 2., 2., 0., 2., 0.])
    """
    return _dropout(x, "x", p, key)


def dropout_backward(grad_output: Array, p: float, *, key: RandomKey) -> Array:
    """Gradient of `dropout` with the same `p` and `key`: the same mask and factor.

    Parameters
    ----------
    grad_output : array
        Gradient of the result.
    p : float
        As in `dropout`.
    key : RandomKey
        The one that `dropout` was called with.

    Returns
    -------
    array
        Gradient of the input.

    Examples
    --------
    >>> with fc.random.stream(seed=0, step=0):
    ...     key = fc.random.next_key()
    >>> kept = fc.functional.dropout(np.ones(8), 0.5, key=key) > 0
    >>> grad = fc.functional.dropout_backward(np.ones(8), 0.5, key=key)
    >>> bool(((grad == 2) == kept).all())
    True
    """
    return _dropout(grad_output, "grad_output", p, key)


def _dropout(x: Array, name: str, p: float, key: RandomKey) -> Array:
    backend = get_backend()
    x = check.floating(backend, x, name)
    p = check.number(p, "p", low=0, high=1)
    if not isinstance(key, RandomKey):
        raise ArgumentError(f"key: got {key!r}; allowed: a RandomKey, as fc.random.next_key() gives it")
    out = backend.empty(x.shape, x.dtype)
    backend.dropout(x, p=p, key=key, out=out)
    return out
