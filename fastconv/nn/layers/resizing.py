"""Layers that bring maps to another size: averages of as many parts as are wanted, and repeated pixels."""

from __future__ import annotations

from types import MappingProxyType

from fastconv._shapes import PairLike, as_pair
from fastconv.backends.contract.types import Array, Shape
from fastconv.nn.core.checking import check_map
from fastconv.nn.core.layer import Context
from fastconv.nn.model.model import Layer

_NEAREST = "nothing: each pixel is repeated"


class AdaptiveAvgPool2d(Layer):
    """Mean of each of P x Q parts of the map, whatever its size: (N, H, W, C) -> (N, P, Q, C), as PyTorch.

    Part (p, q) has the rows from ``floor(p * H / P)`` to ``ceil((p + 1) * H / P) - 1``, and the columns likewise.

    Parameters
    ----------
    output_size : int or (h, w)
        P and Q.

    Examples
    --------
    >>> layer = fc.nn.AdaptiveAvgPool2d(2).build((6, 9, 4))
    >>> layer(np.zeros((1, 6, 9, 4), np.float32)).shape
    (1, 2, 2, 4)
    """

    owns_output = True
    owns_grad = True
    setting_names = ("output_size",)

    def __init__(self, output_size: PairLike) -> None:
        self.output_size = as_pair(output_size, "output_size")

    def infer(self, input_shape: Shape) -> Shape:
        return (*self.output_size, check_map(input_shape)[2])

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x, 4)
        y = self.backend.empty((x.shape[0], *self.infer(x.shape[1:])), x.dtype)
        self.backend.adaptive_avg_pool2d(x, out=y)
        return y, (x.shape if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        shape = self.check_context(context, "shape")
        grad_output = self.check_grad(grad_output, (shape[0], *self.infer(shape[1:])))
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(shape, grad_output.dtype)
        self.backend.adaptive_avg_pool2d_backward(grad_output, out=grad_input)
        return grad_input


class Upsample(Layer):
    """Repeat each pixel (nearest neighbour): (N, H, W, C) -> (N, H * scale_h, W * scale_w, C).

    ``y[n, p, q, c] = x[n, p // scale_h, q // scale_w, c]``.

    Parameters
    ----------
    scale_factor : int or (h, w)
        How often each row and column is repeated.

    Examples
    --------
    >>> fc.nn.Upsample((1, 2)).build((1, 2, 1), np.float64)(np.array([1.0, 2.0]).reshape(1, 1, 2, 1))[0, ..., 0]
    array([[1., 1., 2., 2.]])
    """

    owns_output = True
    owns_grad = True
    setting_names = ("scale_factor",)
    absent = MappingProxyType({**Layer.absent, "mode": _NEAREST, "interpolation": _NEAREST})

    def __init__(self, scale_factor: PairLike) -> None:
        self.scale_factor = as_pair(scale_factor, "scale_factor")

    def infer(self, input_shape: Shape) -> Shape:
        height, width, channels = check_map(input_shape)
        return height * self.scale_factor[0], width * self.scale_factor[1], channels

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x, 4)
        y = self.backend.empty((x.shape[0], *self.infer(x.shape[1:])), x.dtype)
        self.backend.upsample2d(x, scale=self.scale_factor, out=y)
        return y, (x.shape if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        shape = self.check_context(context, "shape")
        grad_output = self.check_grad(grad_output, (shape[0], *self.infer(shape[1:])))
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(shape, grad_output.dtype)
        self.backend.upsample2d_backward(grad_output, scale=self.scale_factor, out=grad_input)
        return grad_input
