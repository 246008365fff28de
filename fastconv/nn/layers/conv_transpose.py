"""The transposed convolution."""

from __future__ import annotations

from typing import Any

from fastconv._conv_transpose import Transposed, as_output_padding, transposed
from fastconv._shapes import PaddingLike, PairLike
from fastconv.backends.contract.types import Array, Pair, Shape
from fastconv.errors import ArgumentError
from fastconv.kernels.epilogue import NO_EPILOGUE
from fastconv.nn.core.layer import Context
from fastconv.nn.layers.convolving import Convolving


class ConvTranspose2d(Convolving):
    """Transposed convolution: (N, P, Q, C) -> (N, H, W, K); see `fastconv.functional.conv_transpose2d`.

    Forward computes the gradient of a convolution's input, backward that convolution itself and the gradient of its
    weight, with the parts of input and gradient exchanged.

    Parameters
    ----------
    out_channels : int
        Channels of the result, K.
    kernel_size, stride, dilation : int or (h, w)
        Those of the convolution whose gradient this is.
    padding : int, (h, w), ((top, bottom), (left, right)), "same" or "valid"
        What is cut off of the result; "same" makes it `stride` times as large as the input.
    output_padding : int or (h, w)
        Rows and columns more at the end, less than the stride.
    groups : int
        Divides the input and the output channels.
    bias : bool
        Whether one is added to each channel of the result.
    init : str
        As of `Conv2d`; "default" is uniform within 1 / sqrt(R * S * K / groups), as PyTorch.

    Attributes
    ----------
    weight : Parameter of shape (R, S, K // groups, C)
        In the layout of the convolution whose gradient it is.
    bias : Parameter of shape (K,), or None

    Examples
    --------
    >>> layer = fc.nn.ConvTranspose2d(8, 2, stride=2).build((16, 16, 4))
    >>> layer(np.zeros((1, 16, 16, 4), np.float32)).shape
    (1, 32, 32, 8)
    """

    def __init__(
        self,
        out_channels: int,
        kernel_size: PairLike,
        *,
        stride: PairLike = 1,
        padding: PaddingLike = 0,
        output_padding: PairLike = 0,
        dilation: PairLike = 1,
        groups: int = 1,
        bias: bool = True,
        init: str = "default",
    ) -> None:
        self._declare(out_channels, kernel_size, stride, padding, dilation, groups, bias, init)
        self.output_padding = as_output_padding(output_padding, self.stride)
        if padding == "same" and any(self.output_padding):
            raise ArgumentError(f"output_padding: got {output_padding!r} with padding 'same'; allowed: 0")

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "output_padding": self.output_padding}

    def macs(self, input_shape: Shape) -> int:
        p, q, c = input_shape
        return p * q * c * self.kernel_size[0] * self.kernel_size[1] * self.out_channels // self.groups

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        backend = self.backend
        x = self.check_input(x, 4, self.weight.shape[3])
        geometry, _ = self._plan(x.shape[1:])
        y = backend.empty(self.output_shape(x.shape), x.dtype)
        weight = self._prepare(geometry.transposed(), y.shape)
        bias = None if self.bias is None else self.bias.array
        backend.conv2d_backward_input(x, weight, bias=bias, out=y, workspace=backend.pool)
        return y, (x if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        backend = self.backend
        x = self.check_context(context, "array")
        grad_output = self.check_grad(grad_output, self.output_shape(x.shape))
        geometry, _ = self._plan(x.shape[1:])
        self.backward_bias(grad_output)
        self._add_weight_gradient(x, grad_output, geometry)
        if not needs_input_grad:
            return None
        grad_input = backend.empty(x.shape, x.dtype)
        weight = self._prepare(geometry, grad_output.shape)
        backend.conv2d(grad_output, weight, None, NO_EPILOGUE, out=grad_input, workspace=backend.pool)
        return grad_input

    def _plan(self, image_shape: Shape) -> Transposed:
        size = (image_shape[0], image_shape[1])
        more = (self.output_padding, self.dilation, self.groups)
        return transposed(size, self.kernel_size, self.stride, self.padding, *more)

    def _sides(self, channels: int) -> Pair:
        return self.out_channels // self.groups, channels

    def _label(self) -> str:
        return f"ConvTranspose2d({self.out_channels}, {self.kernel_size})"
