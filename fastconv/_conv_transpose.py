"""Transposed convolution of `fastconv.functional`: the gradient of a convolution's input as an operation of its own."""

from __future__ import annotations

import functools
from typing import NamedTuple

from fastconv import _validate as check
from fastconv._convolution import prepare
from fastconv._shapes import PaddingLike, PairLike, as_padding, as_pair, kept_padding
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array, ConvGeometry
from fastconv.errors import ArgumentError, ShapeError
from fastconv.kernels.geometry import Pair


class Transposed(NamedTuple):
    """The convolution whose gradient a transposed one is, and the size of the result, which is that one's input."""

    geometry: ConvGeometry
    out_size: Pair


@functools.lru_cache(maxsize=1024)
def transposed(
    size: Pair, kernel_size: Pair, stride: Pair, padding: PaddingLike, output_padding: Pair, dilation: Pair, groups: int
) -> Transposed:
    """Return what a transposed convolution of a map of `size` computes; ShapeError if nothing is left of it.

    `padding` "same" makes the result ``stride`` times as large as the map.
    """
    wanted = (size[0] * stride[0], size[1] * stride[1])
    sides = as_padding(padding, size=wanted, kernel_size=kernel_size, stride=stride, dilation=dilation)
    geometry = ConvGeometry(kernel_size, stride, sides, dilation, groups)
    if padding == "same":
        if any(output_padding):
            raise ArgumentError(f"output_padding: got {output_padding} with padding 'same'; allowed: 0")
        return Transposed(geometry, wanted)
    rows, columns = geometry.transposed().output_size(*size)
    out_size = (rows + output_padding[0], columns + output_padding[1])
    if min(out_size) < 1:
        raise ShapeError(
            f"padding: got {sides}, which leaves a map of {out_size[0]} x {out_size[1]} from one of {size[0]} x"
            f" {size[1]}; allowed: at least one output cell"
        )
    return Transposed(geometry, out_size)


def as_output_padding(value: PairLike, stride: Pair) -> Pair:
    """Return `value` as (h, w), each below the stride, so that the convolution of the result has the input's size."""
    pair = as_pair(value, "output_padding", minimum=0)
    if any(more >= step for more, step in zip(pair, stride, strict=True)):
        raise ArgumentError(f"output_padding: got {value!r}; allowed: less than the stride, which is {stride}")
    return pair


def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: PairLike = 1,
    padding: PaddingLike = 0,
    output_padding: PairLike = 0,
    dilation: PairLike = 1,
    groups: int = 1,
) -> Array:
    """Transposed convolution: (N, P, Q, C) -> (N, H, W, K), what `conv2d_backward_input` computes, and a bias.

    ``y[n, h, w, k] = bias[k] + sum of x[n, p, q, c] * weight[r, s, k % (K // groups), c]`` over the c of the group of k
    and those p, q, r, s with ``p * stride - top + r * dilation = h`` and the like for w (Dumoulin and Visin 2016,
    https://arxiv.org/abs/1603.07285). As in PyTorch,
    ``H = (P - 1) * stride - top - bottom + dilation * (R - 1) + output_padding + 1``, and W likewise; with
    padding "same" ``H = P * stride``, as in Keras.

    Parameters
    ----------
    x : (N, P, Q, C) array
        Maps, float32 or float64.
    weight : (R, S, K // groups, C) array
        In the layout of the convolution from the K channels of y to the C of x. PyTorch's, (C, K // groups, R, S), is
        ``weight.transpose(3, 2, 0, 1)`` of it.
    bias : (K,) array or None
        Added to each channel of the result.
    stride, dilation : int or (h, w)
        Those of the convolution whose gradient this is.
    padding : int, (h, w), ((top, bottom), (left, right)), "same" or "valid"
        What is cut off around.
    output_padding : int or (h, w)
        Rows and columns more at the end, less than the stride.
    groups : int
        Into how many parts the channels are divided.

    Returns
    -------
    (N, H, W, K) array
        The larger maps.

    Examples
    --------
    >>> x, weight = np.array([1.0, 2.0]).reshape(1, 1, 2, 1), np.ones((2, 2, 1, 1))
    >>> fc.functional.conv_transpose2d(x, weight, stride=2)[0, ..., 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]])
    """
    backend = get_backend()
    x = check.floating(backend, x, "x", "(N, P, Q, C)")
    weight = check.like(backend, weight, "weight", x, "x", "(R, S, K // groups, C)")
    check.not_empty(x.shape, "x")
    check.not_empty(weight.shape, "weight", but_first=False)
    groups = check.at_least_one(groups, "groups")
    channels, out_channels = x.shape[3], weight.shape[2] * groups
    check.has_shape(weight, "weight", (*weight.shape[:3], channels), "(R, S, K // groups, C) for the C channels of x")
    if channels % groups:
        raise ArgumentError(f"groups: got {groups}; allowed: a divisor of the {channels} input channels")
    if bias is not None:
        bias = check.like(backend, bias, "bias", x, "x", "(K,)")
        check.has_shape(bias, "bias", (out_channels,), "one for each output channel of weight")
    step, spread = as_pair(stride, "stride"), as_pair(dilation, "dilation")
    more = as_output_padding(output_padding, step)
    size, kernel_size = x.shape[1:3], weight.shape[:2]
    geometry, out_size = transposed(size, kernel_size, step, kept_padding(padding), more, spread, groups)
    out = backend.empty((x.shape[0], *out_size, out_channels), x.dtype)
    prepared = prepare(backend, weight, geometry.transposed(), out.shape)
    backend.conv2d_backward_input(x, prepared, bias=bias, out=out, workspace=backend.pool)
    return out
