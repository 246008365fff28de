"""What both convolutions share, the plain and the transposed one: arguments, parameters, prepared weights."""

from __future__ import annotations

import abc
from functools import partial
from typing import Any

from fastconv import _validate as validate
from fastconv._shapes import PaddingLike, PairLike, as_padding, as_pair
from fastconv.algorithm import get_algorithm
from fastconv.backends.contract.types import ConvGeometry, Pair, PreparedWeight, Shape
from fastconv.errors import ArgumentError, ShapeError
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
        # "same" depends on the input; all else has one normal form
        sides = as_padding(
            padding, size=self.kernel_size, kernel_size=self.kernel_size, stride=self.stride, dilation=self.dilation
        )
        self.padding: PaddingLike = padding if isinstance(padding, str) else sides
        if self.out_channels % self.groups:
            raise ArgumentError(f"groups: got {groups}; allowed: a divisor of out_channels, which is {out_channels}")
        self._has_bias = validate.truth(bias, "bias")
        self._init = weight_and_bias(init)

    def settings(self) -> dict[str, Any]:
        names = ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        return {**{name: getattr(self, name) for name in names}, "bias": self._has_bias, "init": self._init[0]}

    def infer(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise ShapeError(f"input_shape: got {input_shape}; allowed: (H, W, C)")
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

    @abc.abstractmethod
    def _plan(self, image_shape: Shape) -> tuple[ConvGeometry, Pair]:
        """Return the geometry of the convolution, and rows and columns of the result."""

    @abc.abstractmethod
    def _sides(self, channels: int) -> Pair:
        """Return the channels of the weight, in and out, for as many of the input."""

    def _prepare(self, geometry: ConvGeometry, input_shape: Shape) -> PreparedWeight:
        """Return the weight for one direction of a convolution from an input of this shape."""
        backend, precision, algorithm = self.backend, get_precision(), get_algorithm()
        prepare = partial(
            backend.prepare_conv2d_weight,
            self.weight.array,
            geometry=geometry,
            input_shape=input_shape,
            precision=precision,
            algorithm=algorithm,
            workspace=backend.pool,
        )
        return self._prepared.get((geometry, input_shape, precision, algorithm), prepare)
