"""Convolutions of `fastconv.functional`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from fastconv import _validate as check
from fastconv._shapes import PaddingLike, PairLike, as_padding, as_pair, output_size
from fastconv.algorithm import get_algorithm
from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, ConvGeometry, PreparedWeight, Shape
from fastconv.errors import ArgumentError, ShapeError
from fastconv.kernels.epilogue import NO_EPILOGUE
from fastconv.kernels.geometry import Padding, Pair
from fastconv.precision import get_precision

_NHWC = "(N, H, W, C)"
_HWIO = "(R, S, C // groups, K)"
_NPQK = "(N, P, Q, K)"


class _Conv(NamedTuple):
    geometry: ConvGeometry
    out_shape: Shape


def _conv(
    input_shape: Shape,
    input_name: str,
    weight_shape: Shape,
    weight_name: str,
    stride: PairLike,
    padding: PaddingLike,
    dilation: PairLike,
    groups: int,
) -> _Conv:
    """Check that the parts of a convolution fit together; return its geometry and the shape of its output."""
    check.not_empty(input_shape, input_name)
    check.not_empty(weight_shape, weight_name, but_first=False)
    groups = check.at_least_one(groups, "groups")
    size, kernel_size = (input_shape[1], input_shape[2]), (weight_shape[0], weight_shape[1])
    stride, dilation = as_pair(stride, "stride"), as_pair(dilation, "dilation")
    padding = as_padding(padding, size=size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    return _fit(input_shape, input_name, weight_shape, weight_name, stride, padding, dilation, groups)


@functools.lru_cache(maxsize=1024)
def _fit(
    input_shape: Shape,
    input_name: str,
    weight_shape: Shape,
    weight_name: str,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> _Conv:
    channels, (in_width, out_channels) = input_shape[3], weight_shape[2:]
    if channels % groups or out_channels % groups:
        raise ArgumentError(
            f"groups: got {groups}; allowed: a divisor of the {channels} input and the {out_channels} output channels"
        )
    if in_width * groups != channels:
        raise ShapeError(
            f"{weight_name}: got shape {weight_shape}; allowed: (R, S, {channels // groups}, K), as {input_name} has"
            f" {channels} channels and groups is {groups}"
        )
    geometry = ConvGeometry((weight_shape[0], weight_shape[1]), stride, padding, dilation, groups)
    out_size = output_size(geometry, (input_shape[1], input_shape[2]))
    return _Conv(geometry, (input_shape[0], *out_size, out_channels))


def prepare(backend: Backend, weight: Array, geometry: ConvGeometry, input_shape: Shape) -> PreparedWeight:
    """Return a weight in the form that the backend wants, as precision and algorithm are now."""
    return backend.prepare_conv2d_weight(
        weight,
        geometry=geometry,
        input_shape=input_shape,
        precision=get_precision(),
        algorithm=get_algorithm(),
        workspace=backend.pool,
    )


def weight_gradient(backend: Backend, grad_output: Array, x: Array, geometry: ConvGeometry, out: Array) -> None:
    """Write the gradient of a weight to `out`, as precision and algorithm are now."""
    backend.conv2d_backward_weight(
        grad_output,
        x,
        geometry=geometry,
        precision=get_precision(),
        algorithm=get_algorithm(),
        out=out,
        workspace=backend.pool,
    )


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: PairLike = 1,
    padding: PaddingLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
) -> Array:
    """Convolution (cross-correlation): (N, H, W, C) -> (N, P, Q, K).

    ``y[n, p, q, k] = bias[k] + sum over r, s, c of
    x[n, p * stride - top + r * dilation, q * stride - left + s * dilation, c] * weight[r, s, c, k]``,
    where c runs over the channels of the group of k; padded cells are skipped.

    Parameters
    ----------
    x : (N, H, W, C) array
        Images, float32 or float64.
    weight : (R, S, C // groups, K) array
        K filters of R rows and S columns, of the type of `x`.
    bias : (K,) array or None
        Added to each channel of the result.
    stride : int or (h, w)
        Pixels from one place of the filters to the next.
    padding : int, (h, w), ((top, bottom), (left, right)), "same" or "valid"
        Rows and columns of zeros around; "same" makes ``P = ceil(H / stride)``, "valid" adds none.
    dilation : int or (h, w)
        Pixels from one cell of a filter to the next.
    groups : int
        Into how many parts the channels are divided, each with filters of its own.

    Returns
    -------
    (N, P, Q, K) array
        ``P = (H + top + bottom - dilation * (R - 1) - 1) // stride + 1``, and Q likewise.

    Examples
    --------
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> edges = np.array([[-1.0, 1.0]]).reshape(1, 2, 1, 1)
    >>> fc.functional.conv2d(x, edges)[0, ..., 0]
    array([[1., 1.],
           [1., 1.],
           [1., 1.]])
    >>> weight = np.ones((3, 3, 1, 8))
    >>> fc.functional.conv2d(x, weight, stride=2, padding="same").shape
    (1, 2, 2, 8)
    """
    backend = get_backend()
    x = check.floating(backend, x, "x", _NHWC)
    weight = check.like(backend, weight, "weight", x, "x", _HWIO)
    geometry, out_shape = _conv(x.shape, "x", weight.shape, "weight", stride, padding, dilation, groups)
    if bias is not None:
        bias = check.like(backend, bias, "bias", x, "x", "(K,)")
        check.has_shape(bias, "bias", weight.shape[3:], "one for each output channel of weight")
    prepared = prepare(backend, weight, geometry, x.shape)
    out = backend.empty(out_shape, x.dtype)
    backend.conv2d(x, prepared, bias, NO_EPILOGUE, out=out, workspace=backend.pool)
    return out


def conv2d_backward_input(
    grad_output: Array,
    weight: Array,
    *,
    input_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PaddingLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv2d` with respect to x: (N, P, Q, K) -> `input_shape`, (N, H, W, C).

    Parameters
    ----------
    grad_output : (N, P, Q, K) array
        Gradient of the convolution's result.
    weight : (R, S, C // groups, K) array
        As in `conv2d`.
    input_shape : (N, H, W, C)
        Shape of x, which the other arguments do not tell where the stride is above 1.
    stride, padding, dilation, groups :
        As `conv2d` was called with.

    Returns
    -------
    (N, H, W, C) array
        Gradient of x.

    Examples
    --------
    >>> grad, weight = np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1))
    >>> fc.functional.conv2d_backward_input(grad, weight, input_shape=(1, 3, 3, 1))[0, ..., 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    backend = get_backend()
    grad_output = check.floating(backend, grad_output, "grad_output", _NPQK)
    weight = check.like(backend, weight, "weight", grad_output, "grad_output", _HWIO)
    shape = check.as_shape(input_shape, "input_shape", _NHWC)
    geometry, out_shape = _conv(shape, "input_shape", weight.shape, "weight", stride, padding, dilation, groups)
    check.has_shape(grad_output, "grad_output", out_shape, "the shape of the convolution's output")
    prepared = prepare(backend, weight, geometry.transposed(), shape)
    out = backend.empty(shape, grad_output.dtype)
    backend.conv2d_backward_input(grad_output, prepared, out=out, workspace=backend.pool)
    return out


def conv2d_backward_weight(
    grad_output: Array,
    x: Array,
    *,
    weight_shape: Sequence[int],
    stride: PairLike = 1,
    padding: PaddingLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
) -> Array:
    """Gradient of `conv2d` with respect to weight: (N, P, Q, K), (N, H, W, C) -> `weight_shape`.

    Parameters
    ----------
    grad_output : (N, P, Q, K) array
        Gradient of the convolution's result.
    x : (N, H, W, C) array
        As in `conv2d`.
    weight_shape : (R, S, C // groups, K)
        Shape of the weight.
    stride, padding, dilation, groups :
        As `conv2d` was called with.

    Returns
    -------
    (R, S, C // groups, K) array
        Gradient of the weight.

    Examples
    --------
    >>> x, grad = np.arange(9.0).reshape(1, 3, 3, 1), np.ones((1, 2, 2, 1))
    >>> fc.functional.conv2d_backward_weight(grad, x, weight_shape=(2, 2, 1, 1))[..., 0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    backend = get_backend()
    x = check.floating(backend, x, "x", _NHWC)
    grad_output = check.like(backend, grad_output, "grad_output", x, "x", _NPQK)
    shape = check.as_shape(weight_shape, "weight_shape", _HWIO)
    geometry, out_shape = _conv(x.shape, "x", shape, "weight_shape", stride, padding, dilation, groups)
    check.has_shape(grad_output, "grad_output", out_shape, "the shape of the convolution's output")
    out = backend.empty(shape, x.dtype)
    weight_gradient(backend, grad_output, x, geometry, out)
    return out


def conv2d_backward_bias(grad_output: Array) -> Array:
    """``grad_bias[k] = sum over n, p, q of grad_output[n, p, q, k]``: (N, P, Q, K) -> (K,).

    Parameters
    ----------
    grad_output : (N, P, Q, K) array
        Gradient of the convolution's result.

    Returns
    -------
    (K,) array
        Gradient of the bias.

    Examples
    --------
    >>> fc.functional.conv2d_backward_bias(np.ones((2, 3, 3, 4)))
    array([18., 18., 18., 18.])
    """
    return sum_rows(grad_output, _NPQK)


def sum_rows(grad_output: Array, axes: str) -> Array:
    """Return the sum over all axes but the last."""
    backend = get_backend()
    grad_output = check.floating(backend, grad_output, "grad_output", axes)
    check.not_empty(grad_output.shape, "grad_output")
    out = backend.empty(grad_output.shape[-1:], grad_output.dtype)
    backend.sum_rows(grad_output, out=out, workspace=backend.pool)
    return out
