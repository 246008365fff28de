"""Activations that look at channels: a learned slope for each, the largest of several, the softmax over all."""

from __future__ import annotations

import math

from fastconv import _validate as validate
from fastconv._pooling import index_dtype
from fastconv.backends.contract.types import Array, PoolWindows, Shape
from fastconv.errors import ShapeError
from fastconv.kernels.geometry import whole_map
from fastconv.nn.core.layer import Context
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.scope import Scope
from fastconv.nn.model.model import Layer


class PReLU(Layer):
    """``y = x if x > 0 else slope * x`` with slopes that are learned (He et al. 2015, https://arxiv.org/abs/1502.01852).

    Parameters
    ----------
    num_parameters : int
        1 for all channels, or as many as there are channels.
    init : float
        The slope at first.

    Attributes
    ----------
    slope : Parameter of shape (num_parameters,)

    Examples
    --------
    >>> layer = fc.nn.PReLU(init=0.5).build((2,), np.float64)
    >>> layer(np.array([[-2.0, 2.0]]))
    array([[-1.,  2.]])
    """

    owns_output = True
    owns_grad = True
    setting_names = ("num_parameters", "init")
    slope: Parameter

    def __init__(self, num_parameters: int = 1, *, init: float = 0.25) -> None:
        self.num_parameters = validate.at_least_one(num_parameters, "num_parameters")
        self.init = validate.number(init, "init")

    def infer(self, input_shape: Shape) -> Shape:
        if self.num_parameters not in (1, input_shape[-1]):
            raise ShapeError(
                f"num_parameters: got {self.num_parameters}; allowed: 1, or the {input_shape[-1]} channels of the input"
            )
        return input_shape

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        self.slope = scope.parameter("slope", (self.num_parameters,), init=self.init)
        return self.infer(input_shape)

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x, None, None if self.num_parameters == 1 else self.num_parameters)
        y = self.backend.empty(x.shape, x.dtype)
        self.backend.prelu(x, self.slope.array, out=y)
        return y, (x if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        backend = self.backend
        x = self.check_context(context, "array")
        grad_output = self.check_grad(grad_output, x.shape)
        grad_input, target = backend.empty(x.shape, x.dtype), self.slope.grad_target()
        grads = {"out": grad_input, "grad_slope": target, "workspace": backend.pool}
        backend.prelu_backward(grad_output, x, self.slope.array, **grads)
        self.slope.add_grad(target)
        return grad_input if needs_input_grad else None


class Maxout(Layer):
    """Largest of `pieces` channels: (..., C) -> (..., C / pieces) (Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389).

    ``y[..., k] = max over j of x[..., j * (C / pieces) + k]``: the layer before computes the first piece of all units,
    then the second, and so on, so that vectors run along the units. Ties take the first piece, NaN wins.

    Parameters
    ----------
    pieces : int
        A divisor of the channels.

    Examples
    --------
    >>> fc.nn.Maxout(2).build((4,), np.float64)(np.array([[1.0, 5.0, 3.0, 2.0]]))
    array([[3., 5.]])
    """

    owns_output = True
    owns_grad = True
    setting_names = ("pieces",)

    def __init__(self, pieces: int) -> None:
        self.pieces = validate.at_least_one(pieces, "pieces")

    def infer(self, input_shape: Shape) -> Shape:
        if input_shape[-1] % self.pieces:
            raise ShapeError(f"pieces: got {self.pieces}; allowed: a divisor of the {input_shape[-1]} channels")
        return (*input_shape[:-1], input_shape[-1] // self.pieces)

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        backend = self.backend
        x = self.check_input(x)
        shape = self.infer(x.shape)
        rows = self._as_maps(x.shape)
        one = (rows[0], 1, 1, rows[3])
        y, which = backend.empty(one, x.dtype), backend.empty(one, index_dtype((self.pieces, 1)))
        backend.max_pool2d(x.reshape(rows), windows=self._windows, out=y, argmax=which)
        return y.reshape(shape), ((which, x.shape) if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        which, shape = self.check_context(context, 2)
        grad_output = self.check_grad(grad_output, self.infer(shape)).reshape(which.shape)
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(self._as_maps(shape), grad_output.dtype)
        self.backend.max_pool2d_backward(grad_output, which, windows=self._windows, out=grad_input)
        return grad_input.reshape(shape)

    def _as_maps(self, shape: Shape) -> Shape:
        """(..., C) -> (pixels, pieces, 1, C / pieces): a map for each pixel, and one window over it."""
        return math.prod(shape[:-1]), self.pieces, 1, shape[-1] // self.pieces

    @property
    def _windows(self) -> PoolWindows:
        return whole_map(self.pieces, 1)


class Softmax(Layer):
    """``y[..., k] = exp(x[..., k]) / sum over j of exp(x[..., j])`` along the last axis.

    For a network that is to put out probabilities. In training leave it to the loss, `SoftmaxCrossEntropy`, which takes
    what comes before it.

    Examples
    --------
    >>> fc.nn.Softmax().build((2,), np.float64)(np.array([[0.0, 0.0], [0.0, 2.0]])).round(4)
    array([[0.5   , 0.5   ],
           [0.1192, 0.8808]])
    """

    owns_grad = True
    setting_names = ()

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x)
        y = self.backend.empty(x.shape, x.dtype)
        self.backend.softmax(x, out=y)
        return y, (y if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        y = self.check_context(context, "array")
        grad_output = self.check_grad(grad_output, y.shape)
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(y.shape, y.dtype)
        self.backend.softmax_backward(grad_output, y, out=grad_input)
        return grad_input
