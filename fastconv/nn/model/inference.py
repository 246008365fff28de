"""A network frozen for inference on one shape of batch.

`Layer.compile` copies the model, folds each normalisation into the convolution before it, prepares the weights, plans
the buffers, and lets the backend capture what is left: on the CPU one call into compiled code for the whole network.
With ``y = gamma * (conv(x) - mean) / sqrt(var + eps) + beta`` the folded convolution has

    weight' = weight * gamma / sqrt(var + eps),    bias' = beta + (bias - mean) * gamma / sqrt(var + eps)
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import Declared
from fastconv.algorithm import algorithm, get_algorithm
from fastconv.backends import use_backend
from fastconv.backends.base import Algorithm, Array, Precision, Shape
from fastconv.errors import ShapeError
from fastconv.nn.containers.branches import Parallel, Residual, Sequential, add_up
from fastconv.nn.core.layer import Layer
from fastconv.nn.fused.convolution import ConvNorm, ConvReLU, ResidualReLU, convolve_relu
from fastconv.nn.fused.steps import Step
from fastconv.nn.layers.conv import Conv2d
from fastconv.nn.layers.norm import BatchNorm2d
from fastconv.nn.layers.pooling import MaxPool2d
from fastconv.precision import get_precision, precision

Run = Callable[[Array], Array]


class InferencePlan(Declared):
    """What `Layer.compile` returns: ``plan(x)`` gives what ``model(x)`` gave when it was made, up to rounding.

    Threads may share a plan; they take turns. A copy, or one that was pickled, is planned anew from the same weights.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        With the batch.
    """

    def __init__(self, model: Layer, input_shape: Sequence[int]) -> None:
        self._backend = model.backend
        allowed = f"(N, {', '.join(map(str, model.input_shape))})"
        self.input_shape = validate.sizes(input_shape, "input_shape", allowed)
        model.check_size(self.input_shape, "input_shape")
        self._precision, self._algorithm = get_precision(), get_algorithm()
        self._freeze(copy.deepcopy(model))  # which stays as it is when the model is trained on

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.input_shape} -> {self.output_shape}, backend {self._backend.name})"

    def __reduce__(self) -> tuple[object, ...]:
        return _thaw, (self._model, self.input_shape, self._precision, self._algorithm)

    def _freeze(self, frozen: Layer) -> None:
        self._model = frozen
        self._lock = threading.Lock()
        self._run = _layer(frozen)
        self._x = self._backend.asarray(np.zeros(self.input_shape, frozen.dtype))
        self._y = self._run(self._x)  # prepares the weights, and finds what is wrong
        self.output_shape: Shape = tuple(self._y.shape)
        self._replay = self._backend.capture(self._compute)

    def __call__(self, x: Array) -> Array:
        """Return the network's output for `x`, of the shape the plan was made for."""
        backend = self._backend
        x = self._model.check_input(x)
        if x.shape != self.input_shape:
            raise ShapeError(f"x: got shape {tuple(x.shape)}; allowed: {self.input_shape}, which the plan was made for")
        y = backend.empty(self.output_shape, x.dtype)
        with self._lock:
            backend.copy(x, out=self._x)
            computed = self._y
            if self._replay is None or not self._replay():
                with precision(self._precision), algorithm(self._algorithm):
                    computed = self._run(self._x)
            backend.copy(computed, out=y)
        return y

    def _compute(self) -> None:
        with precision(self._precision), algorithm(self._algorithm):
            self._y = self._run(self._x)


def _thaw(model: Layer, input_shape: Shape, how: Precision, chosen: Algorithm) -> InferencePlan:
    """Return the plan that was made of this model."""
    with use_backend(model.backend.name), precision(how), algorithm(chosen):
        return InferencePlan(model, input_shape)


class _Convolution:
    """A convolution layer with a weight and bias of its own."""

    def __init__(self, layer: Conv2d, norm: BatchNorm2d | None = None) -> None:
        self._layer = copy.copy(layer)
        if norm is not None:
            self._layer.fold(*folded(layer, norm))

    def __call__(self, x: Array, operation: str = "conv2d", *more: Array) -> Array:
        return self._layer.convolve(self._layer.checked_input(x), operation, *more)

    def rectified(self, pool: MaxPool2d | None) -> Run:
        """Return what computes it with a rectifier, and a pooling if given, behind it."""
        layer = self._layer
        return lambda x: convolve_relu(layer, pool, layer.checked_input(x), layer.dtype)[0]


def folded(layer: Conv2d, norm: BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Return weight and bias of the convolution with the normalisation in them, computed in float64."""
    host = layer.backend.to_numpy
    gamma, beta, mean, var = (
        host(tensor.array).astype(np.float64) for tensor in (norm.gamma, norm.beta, norm.running_mean, norm.running_var)
    )
    factor = gamma / np.sqrt(var + norm.eps)
    bias = 0.0 if layer.bias is None else host(layer.bias.array).astype(np.float64)
    return host(layer.weight.array) * factor, beta + (bias - mean) * factor


def _layer(layer: Layer) -> Run:
    """Return what computes a layer."""
    if type(layer) is Sequential:
        return _chain([_step(step) for step in layer.steps])
    if type(layer) is Residual:
        body, shortcut = _layer(layer.body), _layer(layer.shortcut)
        owned = (layer.body.owns_output, layer.shortcut.owns_output)
        return lambda x: add_up(layer.backend, (body(x), shortcut(x)), owned)
    if type(layer) is Parallel:
        return _parallel(layer)
    if type(layer) is Conv2d:
        return _Convolution(layer)
    return lambda x: layer.forward(x, training=False)[0]


def _chain(parts: Sequence[Run]) -> Run:
    def run(x: Array) -> Array:
        for part in parts:
            x = part(x)
        return x

    return run


def _parallel(layer: Parallel) -> Run:
    branches = [_layer(branch) for branch in layer.branches]
    return lambda x: layer.join([branch(x) for branch in branches])


def _step(step: Step) -> Run:
    """Return what computes a step, normalisations folded."""
    if isinstance(step, ConvReLU):
        return _Convolution(step.conv).rectified(step.pool)
    if isinstance(step, ConvNorm):
        convolution = _Convolution(step.conv, step.norm)
        return convolution if step.relu is None else convolution.rectified(step.pool)
    if isinstance(step, ResidualReLU):
        body, last = _chain([_step(part) for part in step.body]), _Convolution(step.last.conv, step.last.norm)
        shortcut = _layer(step.shortcut)
        return lambda x: last(body(x), "conv2d_add_relu", shortcut(x))
    return _layer(step.layers[0])
