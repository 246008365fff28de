"""What both convolutions share, the plain and the transposed one: arguments, parameters, prepared weights."""

from __future__ import annotations

import abc
from functools import partial
from typing import Any

from fastconv import _validate as validate
from fastconv._convolution import prepare, weight_gradient
from fastconv._shapes import PaddingLike, PairLike, as_pair, kept_padding
from fastconv.algorithm import get_algorithm
from fastconv.backends.contract.types import Array, ConvGeometry, Pair, PreparedWeight, Shape
from fastconv.errors import ArgumentError, ShapeError
from fastconv.nn.core.checking import check_map
from fastconv.nn.core.initializers import weight_and_bias
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.prepared import PreparedWeights
from fastconv.nn.core.scope import Scope
from fastconv.nn.model.model import Layer
from fastconv.precision import get_precision


class Convolving(Layer):
    """A layer with the windows of a convolution, one way or the other."""

    owns_output = True
    owns_grad = True
    weight: Parameter
    bias: Parameter | None

    def _declare(
        self,
        out_channels: int,
        kernel_size: PairLike,
        stride: PairLike,
        padding: PaddingLike,
        dilation: PairLike,
        groups: int,
        bias: bool,
        init: str,
    ) -> None:
        """Check the arguments and keep them as attributes."""
        self.out_channels = validate.at_least_one(out_channels, "out_channels")
        self.kernel_size = as_pair(kernel_size, "kernel_size")
        self.stride = as_pair(stride, "stride")
        self.dilation = as_pair(dilation, "dilation")
        self.groups = validate.at_least_one(groups, "groups")
        self.padding = kept_padding(padding)
        if self.out_channels % self.groups:
            raise ArgumentError(f"groups: got {groups}; allowed: a divisor of out_channels, which is {out_channels}")
        self._has_bias = validate.truth(bias, "bias")
        self._init = weight_and_bias(init)

    def settings(self) -> dict[str, Any]:
        names = ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        return {**{name: getattr(self, name) for name in names}, "bias": self._has_bias, "init": self._init[0]}

    def infer(self, input_shape: Shape) -> Shape:
        check_map(input_shape)
        if input_shape[2] % self.groups:
            raise ShapeError(f"groups: got {self.groups}; allowed: a divisor of the {input_shape[2]} input channels")
        return (*self._plan(input_shape)[1], self.out_channels)

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        output_shape = self.infer(input_shape)
        shape = (*self.kernel_size, *self._sides(input_shape[2]))
        cells = self.kernel_size[0] * self.kernel_size[1]
        fan_in, fan_out = cells * shape[2], cells * shape[3] // self.groups
        weight, bias = self._init
        self.weight = scope.parameter("weight", shape, init=weight, fan_in=fan_in, fan_out=fan_out)
        size = (self.out_channels,)
        self.bias = scope.parameter("bias", size, init=bias, fan_in=fan_in) if self._has_bias else None
        self._prepared = PreparedWeights(self.weight)
        return output_shape

    def output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output.

        Parameters
        ----------
        input_shape : (N, rows, columns, C)
            Of the input.

        Returns
        -------
        tuple of int
            (N, rows, columns, K).
        """
        return (input_shape[0], *self._plan(input_shape[1:])[1], self.out_channels)

    @property
    def trained_bias(self) -> Parameter | None:
        """The bias, if there is one and it is not frozen."""
        return None if self.bias is None or self.bias.is_frozen else self.bias

    def backward_bias(self, grad_output: Array) -> None:
        """Add the gradient of the bias, if there is one to train.

        Parameters
        ----------
        grad_output : (N, rows, columns, K) array
            Gradient of the output.
        """
        if (bias := self.trained_bias) is not None:
            target = bias.grad_target()
            self.backend.sum_rows(grad_output, out=target, workspace=self.backend.pool)
            bias.add_grad(target)

    @abc.abstractmethod
    def _plan(self, image_shape: Shape) -> tuple[ConvGeometry, Pair]:
        """Return the geometry of the convolution, and rows and columns of the result."""

    @abc.abstractmethod
    def _sides(self, channels: int) -> Pair:
        """Return the channels of the weight, in and out, for as many of the input."""

    def _prepare(self, geometry: ConvGeometry, input_shape: Shape) -> PreparedWeight:
        """Return the weight for one direction of a convolution from an input of this shape."""
        fresh = partial(prepare, self.backend, self.weight.array, geometry, input_shape)
        return self._prepared.get((geometry, input_shape, get_precision(), get_algorithm()), fresh)

    def _add_weight_gradient(self, grad_output: Array, x: Array, geometry: ConvGeometry) -> None:
        """Add the gradient of the weight, for this convolution of x; nothing is computed if it is frozen."""
        if not self.weight.is_frozen:
            target = self.weight.grad_target()
            weight_gradient(self.backend, grad_output, x, geometry, target)
            self.weight.add_grad(target)
