"""Pooling of `fastconv.functional`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastconv import _validate as check
from fastconv._shapes import PaddingLike, PairLike, as_padding, as_pair, output_size
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array, PoolWindows, Shape
from fastconv.errors import ShapeError
from fastconv.kernels.geometry import Padding, Pair

_NHWC = "(N, H, W, C)"
_NPQC = "(N, P, Q, C)"


class Pooling(NamedTuple):
    """The windows of a pooling and the shape of its output."""

    windows: PoolWindows
    out_shape: Shape


def pooling(
    input_shape: Shape,
    name: str,
    kernel_size: PairLike,
    stride: PairLike | None,
    padding: PaddingLike,
    *,
    dilation: PairLike = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Pooling:
    """Check the geometry of a pooling and return it in its normal form."""
    check.not_empty(input_shape, name)
    kernel = as_pair(kernel_size, "kernel_size")
    step = kernel if stride is None else as_pair(stride, "stride")
    spread = as_pair(dilation, "dilation")
    size = (input_shape[1], input_shape[2])
    border = as_padding(padding, size=size, kernel_size=kernel, stride=step, dilation=spread)
    most = [(d * (k - 1) + 1) // 2 for k, d in zip(kernel, spread, strict=True)]
    if any(max(sides) > limit for sides, limit in zip(border, most, strict=True)):
        raise ShapeError(
            f"padding: got {padding!r}; allowed: at most half of the (dilated) kernel, which is {most[0]} rows"
            f" and {most[1]} columns"
        )
    ceil, counts = check.truth(ceil_mode, "ceil_mode"), check.truth(count_include_pad, "count_include_pad")
    return _fit(input_shape, kernel, step, border, spread, ceil, counts)


@functools.lru_cache(maxsize=1024)
def _fit(
    input_shape: Shape, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair, *modes: bool
) -> Pooling:
    windows = PoolWindows(kernel_size, stride, padding, dilation, *modes)
    out_size = output_size(windows, (input_shape[1], input_shape[2]))
    return Pooling(windows, (input_shape[0], *out_size, input_shape[3]))


def index_dtype(kernel_size: Pair) -> np.dtype[np.uint8] | np.dtype[np.int32]:
    """Return the type that holds a position in the window."""
    return np.dtype(np.uint8) if kernel_size[0] * kernel_size[1] <= 256 else np.dtype(np.int32)


def max_pool2d(
    x: Array,
    kernel_size: PairLike,
    *,
    stride: PairLike | None = None,
    padding: PaddingLike = 0,
    dilation: PairLike = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Array]:
    """Largest value of each window: (N, H, W, C) -> (N, P, Q, C).

    Ties take the first cell, NaN wins, padded cells never do; a window without a cell of x, which dilation makes
    possible, is -inf. `stride` is `kernel_size` unless given; `padding` is at most half of the dilated kernel; with
    `ceil_mode` the output size is rounded up, less a last window that would start beyond the input, as in PyTorch.

    Parameters
    ----------
    x : (N, H, W, C) array
        Images, float32 or float64.
    kernel_size : int or (h, w)
        Of the window.
    stride : int, (h, w) or None
        From window to window; None takes `kernel_size`.
    padding : int, (h, w), ((top, bottom), (left, right)), "same" or "valid"
        At most half of the dilated kernel on each side.
    dilation : int or (h, w)
        Pixels from one cell of the window to the next.
    ceil_mode : bool
        Whether the size of the output is rounded up.

    Returns
    -------
    y : (N, P, Q, C) array
        The largest values.
    argmax : (N, P, Q, C) array
        The cell's position in the window, ``r * kernel_w + s``, as uint8, or as int32 for windows of more than 256
        cells.

    Examples
    --------
    >>> x = np.array([[1.0, 7.0, 2.0, 0.0], [3.0, 5.0, 4.0, 6.0]]).reshape(1, 2, 4, 1)
    >>> y, argmax = fc.functional.max_pool2d(x, 2)
    >>> y[0, ..., 0], argmax[0, ..., 0]
    (array([[7., 6.]]), array([[1, 3]], dtype=uint8))
    """
    backend = get_backend()
    x = check.floating(backend, x, "x", _NHWC)
    windows, out_shape = pooling(x.shape, "x", kernel_size, stride, padding, dilation=dilation, ceil_mode=ceil_mode)
    out, argmax = backend.empty(out_shape, x.dtype), backend.empty(out_shape, index_dtype(windows.kernel_size))
    backend.max_pool2d(x, windows=windows, out=out, argmax=argmax)
    return out, argmax


def max_pool2d_backward(
    grad_output: Array,
    argmax: Array,
    *,
    input_shape: Sequence[int],
    kernel_size: PairLike,
    stride: PairLike | None = None,
    padding: PaddingLike = 0,
    dilation: PairLike = 1,
    ceil_mode: bool = False,
) -> Array:
    """Gradient of `max_pool2d`: each value goes to the cell that won; (N, P, Q, C) twice -> `input_shape`.

    Parameters
    ----------
    grad_output : (N, P, Q, C) array
        Gradient of the largest values.
    argmax : (N, P, Q, C) array
        What `max_pool2d` returned.
    input_shape : (N, H, W, C)
        Shape of what was pooled.
    kernel_size, stride, padding, dilation, ceil_mode :
        As `max_pool2d` was called with.

    Returns
    -------
    (N, H, W, C) array
        Gradient of the input.

    Examples
    --------
    >>> x = np.array([[1.0, 7.0], [3.0, 5.0]]).reshape(1, 2, 2, 1)
    >>> y, argmax = fc.functional.max_pool2d(x, 2)
    >>> grad = np.ones((1, 1, 1, 1))
    >>> fc.functional.max_pool2d_backward(grad, argmax, input_shape=x.shape, kernel_size=2)[0, ..., 0]
    array([[0., 1.],
           [0., 0.]])
    """
    backend = get_backend()
    grad_output = check.floating(backend, grad_output, "grad_output", _NPQC)
    shape = check.as_shape(input_shape, "input_shape", _NHWC)
    windows, out_shape = pooling(
        shape, "input_shape", kernel_size, stride, padding, dilation=dilation, ceil_mode=ceil_mode
    )
    check.has_shape(grad_output, "grad_output", out_shape, "the shape of the pooling's output")
    argmax = check.integer(backend, argmax, "argmax", _NPQC)
    check.has_shape(argmax, "argmax", out_shape, "the shape of the pooling's output")
    check.has_dtype(argmax, "argmax", index_dtype(windows.kernel_size), "as max_pool2d returns it for this kernel_size")
    out = backend.empty(shape, grad_output.dtype)
    backend.max_pool2d_backward(grad_output, argmax, windows=windows, out=out)
    return out


def avg_pool2d(
    x: Array,
    kernel_size: PairLike,
    *,
    stride: PairLike | None = None,
    padding: PaddingLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Mean of each window: (N, H, W, C) -> (N, P, Q, C).

    ``y = sum over the cells inside x / count``; the count is that of the cells inside the padded input if
    `count_include_pad`, else inside x. Cells beyond the padding, which `ceil_mode` can reach, never count.
    `stride` is `kernel_size` unless given; `padding` is at most half of the kernel.

    Parameters
    ----------
    x : (N, H, W, C) array
        Images, float32 or float64.
    kernel_size : int or (h, w)
        Of the window.
    stride : int, (h, w) or None
        From window to window; None takes `kernel_size`.
    padding : int, (h, w), ((top, bottom), (left, right)), "same" or "valid"
        At most half of the kernel on each side.
    ceil_mode : bool
        Whether the size of the output is rounded up.
    count_include_pad : bool
        Whether padded cells count.

    Returns
    -------
    (N, P, Q, C) array
        The means.

    Examples
    --------
    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> fc.functional.avg_pool2d(x, 2)[0, ..., 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    backend = get_backend()
    x = check.floating(backend, x, "x", _NHWC)
    windows, out_shape = pooling(
        x.shape, "x", kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad
    )
    out = backend.empty(out_shape, x.dtype)
    backend.avg_pool2d(x, windows=windows, out=out)
    return out


def avg_pool2d_backward(
    grad_output: Array,
    *,
    input_shape: Sequence[int],
    kernel_size: PairLike,
    stride: PairLike | None = None,
    padding: PaddingLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:
    """Gradient of `avg_pool2d`: each value is spread over its window, divided by the same count; -> `input_shape`.

    Parameters
    ----------
    grad_output : (N, P, Q, C) array
        Gradient of the means.
    input_shape : (N, H, W, C)
        Shape of what was pooled.
    kernel_size, stride, padding, ceil_mode, count_include_pad :
        As `avg_pool2d` was called with.

    Returns
    -------
    (N, H, W, C) array
        Gradient of the input.

    Examples
    --------
    >>> grad = np.ones((1, 1, 1, 1))
    >>> fc.functional.avg_pool2d_backward(grad, input_shape=(1, 2, 2, 1), kernel_size=2)[0, ..., 0]
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    backend = get_backend()
    grad_output = check.floating(backend, grad_output, "grad_output", _NPQC)
    shape = check.as_shape(input_shape, "input_shape", _NHWC)
    windows, out_shape = pooling(
        shape, "input_shape", kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad
    )
    check.has_shape(grad_output, "grad_output", out_shape, "the shape of the pooling's output")
    out = backend.empty(shape, grad_output.dtype)
    backend.avg_pool2d_backward(grad_output, windows=windows, out=out)
    return out


def global_avg_pool2d(x: Array) -> Array:
    """Mean of each channel of each image: (N, H, W, C) -> (N, C).

    Parameters
    ----------
    x : (N, H, W, C) array
        Images, float32 or float64.

    Returns
    -------
    (N, C) array
        The means.

    Examples
    --------
    >>> fc.functional.global_avg_pool2d(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 4.]])
    """
    x = check.floating(get_backend(), x, "x", _NHWC)
    return avg_pool2d(x, _whole(x.shape, "x")).reshape(x.shape[0], x.shape[3])


def global_avg_pool2d_backward(grad_output: Array, *, input_shape: Sequence[int]) -> Array:
    """``grad_input[n, h, w, c] = grad_output[n, c] / (H * W)``: (N, C) -> `input_shape`, (N, H, W, C).

    Parameters
    ----------
    grad_output : (N, C) array
        Gradient of the means.
    input_shape : (N, H, W, C)
        Shape of what was pooled.

    Returns
    -------
    (N, H, W, C) array
        Gradient of the input.

    Examples
    --------
    >>> fc.functional.global_avg_pool2d_backward(np.array([[4.0]]), input_shape=(1, 2, 2, 1))[0, ..., 0]
    array([[1., 1.],
           [1., 1.]])
    """
    shape = check.as_shape(input_shape, "input_shape", _NHWC)
    grad_output = _per_image(grad_output, "grad_output", shape)
    return avg_pool2d_backward(grad_output, input_shape=shape, kernel_size=_whole(shape, "input_shape"))


def global_max_pool2d(x: Array) -> tuple[Array, Array]:
    """Largest value of each channel of each image, and its position ``h * W + w``: (N, H, W, C) -> (N, C) twice.

    Parameters
    ----------
    x : (N, H, W, C) array
        Images, float32 or float64.

    Returns
    -------
    y : (N, C) array
        The largest values.
    argmax : (N, C) array of integers
        Where they are.

    Examples
    --------
    >>> x = np.array([1.0, 7.0, 3.0, 5.0]).reshape(1, 2, 2, 1)
    >>> fc.functional.global_max_pool2d(x)
    (array([[7.]]), array([[1]], dtype=uint8))
    """
    x = check.floating(get_backend(), x, "x", _NHWC)
    y, argmax = max_pool2d(x, _whole(x.shape, "x"))
    shape = (x.shape[0], x.shape[3])
    return y.reshape(shape), argmax.reshape(shape)


def global_max_pool2d_backward(grad_output: Array, argmax: Array, *, input_shape: Sequence[int]) -> Array:
    """Gradient of `global_max_pool2d`: (N, C) twice -> `input_shape`, (N, H, W, C).

    Parameters
    ----------
    grad_output : (N, C) array
        Gradient of the largest values.
    argmax : (N, C) array
        What `global_max_pool2d` returned.
    input_shape : (N, H, W, C)
        Shape of what was pooled.

    Returns
    -------
    (N, H, W, C) array
        Gradient of the input.

    Examples
    --------
    >>> y, argmax = fc.functional.global_max_pool2d(np.array([1.0, 7.0, 3.0, 5.0]).reshape(1, 2, 2, 1))
    >>> fc.functional.global_max_pool2d_backward(np.ones((1, 1)), argmax, input_shape=(1, 2, 2, 1))[0, ..., 0]
    array([[0., 1.],
           [0., 0.]])
    """
    shape = check.as_shape(input_shape, "input_shape", _NHWC)
    grad_output = _per_image(grad_output, "grad_output", shape)
    argmax = _per_image(argmax, "argmax", shape)
    return max_pool2d_backward(grad_output, argmax, input_shape=shape, kernel_size=_whole(shape, "input_shape"))


def _whole(shape: Shape, name: str) -> Pair:
    check.not_empty(shape, name)
    return shape[1], shape[2]


def _per_image(value: Array, name: str, shape: Shape) -> Array:
    """(N, C) -> (N, 1, 1, C)."""
    check.owned(get_backend(), value, name)
    check.has_shape(value, name, (shape[0], shape[3]), "(N, C) of input_shape")
    return value.reshape(shape[0], 1, 1, shape[3])
