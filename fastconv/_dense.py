"""Dense layers of `fastconv.functional`."""

from __future__ import annotations

from fastconv import _validate as check
from fastconv._convolution import sum_rows
from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, Direction, PreparedWeight
from fastconv.precision import get_precision


def prepare(backend: Backend, weight: Array, direction: Direction, batch: int) -> PreparedWeight:
    """Return a weight in the form that the backend wants, as the precision is now."""
    return backend.prepare_dense_weight(
        weight, direction=direction, batch=batch, precision=get_precision(), workspace=backend.pool
    )


def dense(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``y[n, k] = bias[k] + sum over c of x[n, c] * weight[c, k]``: (N, C), (C, K), (K,) -> (N, K).

    Parameters
    ----------
    x : (N, C) array
        A row for each sample, float32 or float64.
    weight : (C, K) array
        A column for each output.
    bias : (K,) array or None
        Added to each row of the result.

    Returns
    -------
    (N, K) array
        ``x @ weight + bias``.

    Examples
    --------
    >>> fc.functional.dense(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [10.0, 1.0]]), np.array([0.5, 0.5]))
    array([[21.5,  2.5]])
    """
    backend = get_backend()
    x = check.floating(backend, x, "x", "(N, C)")
    weight = check.like(backend, weight, "weight", x, "x", "(C, K)")
    check.not_empty(x.shape, "x")
    check.not_empty(weight.shape, "weight", but_first=False)
    check.has_shape(weight, "weight", (x.shape[1], weight.shape[1]), "(C, K) for the C features of x")
    if bias is not None:
        bias = check.like(backend, bias, "bias", x, "x", "(K,)")
        check.has_shape(bias, "bias", weight.shape[1:], "one for each output of weight")
    prepared = prepare(backend, weight, "forward", len(x))
    out = backend.empty((x.shape[0], weight.shape[1]), x.dtype)
    backend.dense(x, prepared, bias, out=out, workspace=backend.pool)
    return out


def dense_backward_input(grad_output: Array, weight: Array) -> Array:
    """``grad_input[n, c] = sum over k of grad_output[n, k] * weight[c, k]``: (N, K), (C, K) -> (N, C).

    Parameters
    ----------
    grad_output : (N, K) array
        Gradient of the result.
    weight : (C, K) array
        As in `dense`.

    Returns
    -------
    (N, C) array
        Gradient of x.

    Examples
    --------
    >>> fc.functional.dense_backward_input(np.array([[1.0, 1.0]]), np.array([[1.0, 0.0], [10.0, 1.0]]))
    array([[ 1., 11.]])
    """
    backend = get_backend()
    grad_output = check.floating(backend, grad_output, "grad_output", "(N, K)")
    weight = check.like(backend, weight, "weight", grad_output, "grad_output", "(C, K)")
    check.not_empty(grad_output.shape, "grad_output")
    check.not_empty(weight.shape, "weight", but_first=False)
    check.has_shape(weight, "weight", (weight.shape[0], grad_output.shape[1]), "(C, K) for the K of grad_output")
    prepared = prepare(backend, weight, "backward_input", len(grad_output))
    out = backend.empty((grad_output.shape[0], weight.shape[0]), grad_output.dtype)
    backend.dense_backward_input(grad_output, prepared, out=out, workspace=backend.pool)
    return out


def dense_backward_weight(grad_output: Array, x: Array) -> Array:
    """``grad_weight[c, k] = sum over n of x[n, c] * grad_output[n, k]``: (N, K), (N, C) -> (C, K).

    Parameters
    ----------
    grad_output : (N, K) array
        Gradient of the result.
    x : (N, C) array
        As in `dense`.

    Returns
    -------
    (C, K) array
        Gradient of the weight.

    Examples
    --------
    >>> fc.functional.dense_backward_weight(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([[3., 6.],
           [4., 8.]])
    """
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
    """``grad_bias[k] = sum over n of grad_output[n, k]``: (N, K) -> (K,).

    Parameters
    ----------
    grad_output : (N, K) array
        Gradient of the result.

    Returns
    -------
    (K,) array
        Gradient of the bias.

    Examples
    --------
    >>> fc.functional.dense_backward_bias(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    return sum_rows(grad_output, "(N, K)")
