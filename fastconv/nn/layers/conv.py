"""Convolution layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv import _validate as validate
from fastconv._shapes import PaddingLike, PairLike, as_padding, output_size
from fastconv.algorithm import get_algorithm
from fastconv.backends.contract.types import Array, ConvGeometry, Pair, PoolWindows, PreparedWeight, Shape
from fastconv.errors import ShapeError
from fastconv.kernels.epilogue import NO_EPILOGUE, Epilogue
from fastconv.nn.core.layer import Context
from fastconv.nn.core.parameter import Parameter, allocate
from fastconv.nn.core.prepared import PreparedWeights
from fastconv.nn.layers.convolving import Convolving
from fastconv.precision import get_precision


class _Plan(NamedTuple):
    geometry: ConvGeometry
    out_size: Pair


@lru_cache(maxsize=1024)
def _plan(size: Pair, kernel_size: Pair, stride: Pair, padding: PaddingLike, dilation: Pair, groups: int) -> _Plan:
    sides = as_padding(padding, size=size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    geometry = ConvGeometry(kernel_size, stride, sides, dilation, groups)
    return _Plan(geometry, output_size(geometry, size))


class Conv2d(Convolving):
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
        self.in_channels = None if in_channels is None else validate.at_least_one(in_channels, "in_channels")

    def infer(self, input_shape: Shape) -> Shape:
        """(H, W, C) -> (P, Q, K)."""
        if self.in_channels is not None and len(input_shape) == 3 and input_shape[2] != self.in_channels:
            raise ShapeError(f"input_shape: got {input_shape}; allowed: (H, W, {self.in_channels}), by in_channels")
        return super().infer(input_shape)

    def settings(self) -> dict[str, Any]:
        """Return the arguments."""
        return {**super().settings(), "in_channels": self.in_channels}

    def macs(self, input_shape: Shape) -> int:
        """``P * Q * K * R * S * C / groups``."""
        p, q, k = self.infer(input_shape)
        return p * q * k * self.kernel_size[0] * self.kernel_size[1] * input_shape[2] // self.groups

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        """Convolve; the context is x."""
        x = self.checked_input(x)
        return self.convolve(x), (x if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        """Add the gradients of weight and bias; return that of the input."""
        x = self.check_context(context)
        grad_output = self.check_grad(grad_output, self.output_shape(x.shape))
        self.backward_bias(grad_output)
        self.backward_weight(grad_output, x)
        return self.backward_input(grad_output, x) if needs_input_grad else None

    # The parts, which fused steps call too (see fastconv/nn/fused)

    def checked_input(self, x: Array, *, stored: bool = False) -> Array:
        """Return `x` in the form that the backend takes; if `stored`, it may come as the backend stores activations."""
        backend = self.backend  # says so if the layer is not built
        if stored and x.dtype == backend.kept_dtype(self.dtype, get_precision()) != self.dtype:
            return x
        return self.check_input(x, 4, self.weight.shape[2] * self.groups)

    def fold(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Take other values, in parameters of its own: for a copy of the layer."""
        backend, dtype = self.backend, self.dtype
        self.weight, self.bias = Parameter("weight", weight.shape), Parameter("bias", bias.shape)
        allocate(backend, dtype, [(self.weight, weight), (self.bias, bias)])
        self._prepared = PreparedWeights(self.weight)

    def convolve(
        self, x: Array, epilogue: Epilogue = NO_EPILOGUE, *, out: Array | None = None, **arrays: Array | None
    ) -> Array:
        """Return the result, and that of what follows, in `out` if given; `arrays` are the others of the operation."""
        backend, bias = self.backend, None if self.bias is None else self.bias.array
        weight = self._prepare(self._plan(x.shape[1:]).geometry, x.shape)
        y = backend.empty(self.output_shape(x.shape), self.dtype) if out is None else out
        backend.conv2d(x, weight, bias, epilogue, out=y, workspace=backend.pool, **arrays)
        return y

    def statistics(self, x: Array, epilogue: Epilogue = NO_EPILOGUE, **arrays: Array | None) -> None:
        """Convolve without the bias, and take mean and variance of the result behind a pooling, if there is one."""
        backend = self.backend
        weight = self._prepare(self._plan(x.shape[1:]).geometry, x.shape)
        backend.conv2d_statistics(x, weight, None, epilogue, **arrays, workspace=backend.pool)

    def why(self, input_shape: Shape) -> Sequence[str]:
        """Return why the backend takes the kernels that it takes for an input of this shape."""
        return self.backend.conv2d_reasons(
            self.weight.array,
            geometry=self._plan(input_shape[1:]).geometry,
            input_shape=input_shape,
            precision=get_precision(),
            algorithm=get_algorithm(),
        )

    @property
    def trained_bias(self) -> Parameter | None:
        """The bias, if there is one and it is not frozen."""
        return None if self.bias is None or self.bias.is_frozen else self.bias

    def backward_bias(self, grad_output: Array) -> None:
        """Add the gradient of the bias, if there is one to train."""
        if (bias := self.trained_bias) is not None:
            target = bias.grad_target()
            self.backend.sum_rows(grad_output, out=target, workspace=self.backend.pool)
            bias.add_grad(target)

    def no_gradient_of_bias(self) -> None:
        """Add zero to the gradient of the bias, if there is one: what it is before a normalisation."""
        if (bias := self.trained_bias) is not None:
            target = bias.grad_target()
            self.backend.fill(0.0, out=target)
            bias.add_grad(target)

    def backward_weight(self, grad_output: Array, x: Array) -> None:
        """Add the gradient of the weight; nothing is computed if it is frozen."""
        if self.weight.is_frozen:
            return
        backend = self.backend
        target = self.weight.grad_target()
        backend.conv2d_backward_weight(
            grad_output,
            x,
            geometry=self._plan(x.shape[1:]).geometry,
            precision=get_precision(),
            algorithm=get_algorithm(),
            out=target,
            workspace=backend.pool,
        )
        self.weight.add_grad(target)

    def backward_input(
        self,
        grad_output: Array,
        x: Array,
        *,
        addend: Array | None = None,
        bias: Parameter | None = None,
        **through: Any,
    ) -> Array:
        """Return the gradient of the input.

        With `addend`, that is added, and the result written there. With `activation` and `saved`, it goes on through
        the activation that made x, and its sum is added to the gradient of `bias`.
        """
        backend = self.backend
        weight = self._prepare_backward(x.shape)
        grad = backend.empty(x.shape, self.dtype) if addend is None else addend
        target = None if bias is None else bias.grad_target()
        through |= {"addend": addend, "grad_bias": target}
        backend.conv2d_backward_input(grad_output, weight, **through, out=grad, workspace=backend.pool)
        if bias is not None:
            bias.add_grad(target)
        return grad

    def backward_max_pool(
        self,
        grad_output: Array,
        x: Array,
        *,
        argmax: Array,
        windows: PoolWindows,
        needs_input_grad: bool,
        bias: Parameter | None = None,
        **through: Any,
    ) -> Array | None:
        """Gradients of weight and input from that of a max pooling's result; `windows` are those of the pooling.

        That of the input as of `backward_input`.
        """
        backend = self.backend
        weight = self._prepare_backward(x.shape) if needs_input_grad else None
        grad = backend.empty(x.shape, self.dtype) if needs_input_grad else None
        target, bias_target = self.weight.grad_target(), None if bias is None else bias.grad_target()
        backend.conv2d_max_pool2d_backward(
            grad_output,
            argmax,
            x,
            weight,
            geometry=self._plan(x.shape[1:]).geometry,
            windows=windows,
            precision=get_precision(),
            algorithm=get_algorithm(),
            **through,
            grad_weight=target,
            grad_input=grad,
            grad_bias=bias_target,
            workspace=backend.pool,
        )
        self.weight.add_grad(target)
        if bias is not None:
            bias.add_grad(bias_target)
        return grad

    def backward_input_norm(self, grad_output: Array, x: Array, *norm: Any, addend: Array | None, **more: Any) -> Array:
        """Return the gradient behind the normalisation that made x and write those of its parameters.

        With `addend` that is added first, and the result written there. With `argmax` and `windows` the gradient given
        is that of a max pooling's result.
        """
        backend = self.backend
        weight, more = self._prepare_backward(x.shape), {**more, "workspace": backend.pool}
        grad = backend.empty(x.shape, self.dtype) if addend is None else addend
        backend.conv2d_backward_input_norm(grad_output, weight, *norm, addend=addend, out=grad, **more)
        return grad

    def _plan(self, image_shape: Shape) -> _Plan:
        size = (image_shape[0], image_shape[1])
        return _plan(size, self.kernel_size, self.stride, self.padding, self.dilation, self.groups)

    def _sides(self, channels: int) -> Pair:
        return channels // self.groups, self.out_channels

    def _prepare_backward(self, input_shape: Shape) -> PreparedWeight:
        return self._prepare(self._plan(input_shape[1:]).geometry.transposed(), input_shape)

    def _label(self) -> str:
        return f"Conv2d({self.out_channels}, {self.kernel_size})"
