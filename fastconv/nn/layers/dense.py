"""The fully connected layer."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv import _validate as validate
from fastconv._dense import prepare
from fastconv.backends.contract.types import Array, Direction, PreparedWeight, Shape
from fastconv.errors import ShapeError
from fastconv.nn.core.initializers import weight_and_bias
from fastconv.nn.core.layer import Context
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.prepared import PreparedWeights
from fastconv.nn.core.scope import Scope
from fastconv.nn.model.model import Layer
from fastconv.precision import get_precision


class Dense(Layer):
    """``y = x @ weight + bias``: (N, C) -> (N, K).

    Parameters
    ----------
    out_features : int
        How many outputs, K.
    bias : bool
        Whether one is added to each output.
    in_features : int or None
        Inferred from the input if None; else the input must have it.
    init : str
        As of `Conv2d`.

    Attributes
    ----------
    weight : Parameter of shape (C, K)
    bias : Parameter of shape (K,), or None

    Examples
    --------
    >>> layer = fc.nn.Dense(2).build((3,), np.float64)
    >>> layer.weight.data = np.array([[1.0, 0.0], [10.0, 0.0], [100.0, 0.0]])
    >>> layer.bias.data = np.array([0.0, 7.0])
    >>> layer(np.array([[1.0, 2.0, 3.0]]))
    array([[321.,   7.]])
    """

    owns_output = True
    owns_grad = True
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, out_features: int, *, bias: bool = True, in_features: int | None = None, init: str = "default"
    ) -> None:
        self.out_features = validate.at_least_one(out_features, "out_features")
        self.in_features = validate.at_least_one_or_none(in_features, "in_features")
        self._has_bias = validate.truth(bias, "bias")
        self._init = weight_and_bias(init)

    def infer(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ShapeError(
                f"input_shape: got {input_shape}; allowed: (C,) (put a Flatten or a global pooling before)"
            )
        if self.in_features is not None and input_shape[0] != self.in_features:
            raise ShapeError(f"input_shape: got {input_shape}; allowed: ({self.in_features},), by in_features")
        return (self.out_features,)

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        output_shape = self.infer(input_shape)
        fan_in, fan_out = input_shape[0], self.out_features
        weight, bias = self._init
        self.weight = scope.parameter("weight", (fan_in, fan_out), init=weight, fan_in=fan_in, fan_out=fan_out)
        self.bias = scope.parameter("bias", (fan_out,), init=bias, fan_in=fan_in) if self._has_bias else None
        self._prepared = PreparedWeights(self.weight)
        return output_shape

    def settings(self) -> dict[str, Any]:
        return {
            "out_features": self.out_features,
            "bias": self._has_bias,
            "in_features": self.in_features,
            "init": self._init[0],
        }

    def macs(self, input_shape: Shape) -> int:
        return input_shape[0] * self.out_features

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        backend = self.backend
        x = self.check_input(x, 2, self.weight.shape[0])
        y = backend.empty((x.shape[0], self.out_features), x.dtype)
        bias = None if self.bias is None else self.bias.array
        backend.dense(x, self._prepare("forward", x.shape[0]), bias, out=y, workspace=backend.pool)
        return y, (x if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        backend = self.backend
        x = self.check_context(context, "array")
        grad_output = self.check_grad(grad_output, (x.shape[0], self.out_features))
        if self.bias is not None and not self.bias.is_frozen:
            target = self.bias.grad_target()
            backend.sum_rows(grad_output, out=target, workspace=backend.pool)
            self.bias.add_grad(target)
        if not self.weight.is_frozen:
            target = self.weight.grad_target()
            backend.dense_backward_weight(grad_output, x, precision=get_precision(), out=target, workspace=backend.pool)
            self.weight.add_grad(target)
        if not needs_input_grad:
            return None
        grad_input = backend.empty(x.shape, x.dtype)
        prepared = self._prepare("backward_input", x.shape[0])
        backend.dense_backward_input(grad_output, prepared, out=grad_input, workspace=backend.pool)
        return grad_input

    def _prepare(self, direction: Direction, batch: int) -> PreparedWeight:
        fresh = partial(prepare, self.backend, self.weight.array, direction, batch)
        return self._prepared.get((direction, batch, get_precision()), fresh)

    def _label(self) -> str:
        return f"Dense({self.out_features})"
