"""Convolution layers."""

from __future__ import annotations

from typing import Any

from fastconv import _validate as validate
from fastconv._shapes import PaddingLike, PairLike
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ShapeError
from fastconv.nn.core.layer import Context
from fastconv.nn.layers.conv_parts import ConvParts


class Conv2d(ConvParts):
    """Convolution (cross-correlation): (N, H, W, C) -> (N, P, Q, K); see `fastconv.functional.conv2d`.

    Parameters
    ----------
    out_channels : int
        How many filters, K.
    kernel_size : int or (h, w)
        Rows and columns of each filter.
    stride : int or (h, w)
        Pixels from one place of the filters to the next.
    padding : int, (h, w), ((top, bottom), (left, right)), "same" or "valid"
        Rows and columns of zeros around.
    dilation : int or (h, w)
        Pixels from one cell of a filter to the next.
    groups : int
        Divides the input and the output channels.
    bias : bool
        Leave it out before BatchNorm2d, which has one of its own.
    in_channels : int or None
        Inferred from the input if None; else the input must have it.
    init : str
        "default" (uniform within 1 / sqrt(fan_in), as PyTorch), "he_normal", "glorot_uniform", "lecun_normal", "dirac"
        (filter i hands on input channel i, where there is one; others as "default"), "unit_std" (as "default", divided
        by their standard deviation), "zeros"; with all but "default" the bias starts at zero.

    Attributes
    ----------
    weight : Parameter of shape (R, S, C // groups, K)
    bias : Parameter of shape (K,), or None

    Examples
    --------
    >>> layer = fc.nn.Conv2d(8, 3, stride=2, padding="same").build((32, 32, 3))
    >>> layer(np.zeros((4, 32, 32, 3), np.float32)).shape
    (4, 16, 16, 8)
    >>> layer.weight.shape, layer.bias.shape
    ((3, 3, 3, 8), (8,))
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: PairLike,
        *,
        stride: PairLike = 1,
        padding: PaddingLike = 0,
        dilation: PairLike = 1,
        groups: int = 1,
        bias: bool = True,
        in_channels: int | None = None,
        init: str = "default",
    ) -> None:
        self._declare(out_channels, kernel_size, stride, padding, dilation, groups, bias, init)
        self.in_channels = validate.at_least_one_or_none(in_channels, "in_channels")

    def infer(self, input_shape: Shape) -> Shape:
        if self.in_channels is not None and len(input_shape) == 3 and input_shape[2] != self.in_channels:
            raise ShapeError(f"input_shape: got {input_shape}; allowed: (H, W, {self.in_channels}), by in_channels")
        return super().infer(input_shape)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "in_channels": self.in_channels}

    def macs(self, input_shape: Shape) -> int:
        p, q, k = self.infer(input_shape)
        return p * q * k * self.kernel_size[0] * self.kernel_size[1] * input_shape[2] // self.groups

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.checked_input(x)
        return self.convolve(x), (x if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        x = self.check_context(context, "array")
        grad_output = self.check_grad(grad_output, self.output_shape(x.shape))
        self.backward_bias(grad_output)
        self.backward_weight(grad_output, x)
        return self.backward_input(grad_output, x) if needs_input_grad else None

    def _label(self) -> str:
        return f"Conv2d({self.out_channels}, {self.kernel_size})"
