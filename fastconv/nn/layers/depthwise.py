"""The depthwise convolution: one of as many groups as there are channels."""

from __future__ import annotations

from typing import Any

from fastconv import _validate as validate
from fastconv._shapes import PaddingLike, PairLike
from fastconv.backends.contract.types import Shape
from fastconv.nn.core.checking import check_map
from fastconv.nn.core.scope import Scope
from fastconv.nn.layers.conv import Conv2d


class DepthwiseConv2d(Conv2d):
    """Convolution of each channel by itself: (N, H, W, C) -> (N, P, Q, C * multiplier).

    A `Conv2d` with ``groups = C``, which is inferred: output channel ``c * multiplier + m`` is that of input channel c
    with its m-th filter (Howard et al. 2017, https://arxiv.org/abs/1704.04861).

    Parameters
    ----------
    kernel_size, stride, dilation, padding, bias, init :
        As of `Conv2d`.
    multiplier : int
        Filters of each channel.

    Attributes
    ----------
    weight : Parameter of shape (R, S, 1, C * multiplier)
    bias : Parameter of shape (C * multiplier,), or None

    Examples
    --------
    >>> layer = fc.nn.DepthwiseConv2d(3, 2, padding=1).build((8, 8, 4))
    >>> layer(np.zeros((1, 8, 8, 4), np.float32)).shape, layer.weight.shape
    ((1, 8, 8, 8), (3, 3, 1, 8))
    """

    def __init__(
        self,
        kernel_size: PairLike,
        multiplier: int = 1,
        *,
        stride: PairLike = 1,
        padding: PaddingLike = 0,
        dilation: PairLike = 1,
        bias: bool = True,
        init: str = "default",
    ) -> None:
        self.multiplier = validate.at_least_one(multiplier, "multiplier")
        shared: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
        super().__init__(self.multiplier, kernel_size, **shared, bias=bias, init=init)

    def infer(self, input_shape: Shape) -> Shape:
        return (*self._plan(check_map(input_shape)).out_size, input_shape[2] * self.multiplier)

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        self.out_channels = self.infer(input_shape)[2]
        self.groups = input_shape[2]
        return super().setup(input_shape, scope)

    def settings(self) -> dict[str, Any]:
        of_all = super().settings()
        taken = ("kernel_size", "stride", "padding", "dilation", "bias", "init")
        return {"multiplier": self.multiplier, **{name: of_all[name] for name in taken}}

    def macs(self, input_shape: Shape) -> int:
        p, q, k = self.infer(input_shape)
        return p * q * k * self.kernel_size[0] * self.kernel_size[1]

    def _label(self) -> str:
        return f"DepthwiseConv2d({self.kernel_size})"
