"""Layers that move, drop or scale values and have no parameters."""

from __future__ import annotations

import math

from fastconv import _validate as validate
from fastconv import random
from fastconv._shapes import PairLike, as_pair
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ShapeError
from fastconv.nn.core.layer import Context
from fastconv.nn.model.model import Layer


class Identity(Layer):
    """``y = x``: the very same array.

    Examples
    --------
    >>> x = np.ones((1, 3), np.float32)
    >>> fc.nn.Identity().build((3,))(x) is x
    True
    """

    setting_names = ()

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        return self.check_input(x), None

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        return grad_output if needs_input_grad else None


class Flatten(Layer):
    """(N, H, W, C) -> (N, H * W * C): a view, channels running fastest.

    PyTorch's runs through C, H, W, so that the dense layer after it has its rows in another order.

    Examples
    --------
    >>> fc.nn.Flatten().build((2, 2, 3))(np.zeros((5, 2, 2, 3), np.float32)).shape
    (5, 12)
    """

    setting_names = ()

    def infer(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x)
        return x.reshape(x.shape[0], math.prod(x.shape[1:])), (x.shape if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        shape = self.check_context(context, "shape")
        grad_output = self.check_grad(grad_output, (shape[0], math.prod(shape[1:])))
        return grad_output.reshape(shape) if needs_input_grad else None


class Scale(Layer):
    """``y = factor * x``.

    Parameters
    ----------
    factor : float
        Of every element.

    Examples
    --------
    >>> fc.nn.Scale(0.125).build((2,), np.float64)(np.array([[8.0, 16.0]]))
    array([[1., 2.]])
    """

    owns_output = True
    owns_grad = True
    setting_names = ("factor",)

    def __init__(self, factor: float) -> None:
        self.factor = validate.number(factor, "factor")

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x)
        return self._scaled(x), (x.shape if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        grad_output = self.check_grad(grad_output, self.check_context(context, "shape"))
        return self._scaled(grad_output) if needs_input_grad else None

    def _scaled(self, x: Array) -> Array:
        y = self.backend.empty(x.shape, x.dtype)
        self.backend.scale(x, factor=self.factor, out=y)
        return y


class Dropout(Layer):
    """In training zero each element with probability `p` and multiply the others by ``1 / (1 - p)``; else do nothing.

    Which ones depends on the seed, the step and the place of the layer only; see `fastconv.random`. (Srivastava et
    al., JMLR 2014)

    Parameters
    ----------
    p : float
        At least 0, below 1.

    Examples
    --------
    >>> layer, x = fc.nn.Dropout(0.5).build((8,)), np.ones((1, 8), np.float32)
    >>> layer(x)
    array([[1., 1., 1., 1., 1., 1., 1., 1.]], dtype=float32)
    >>> with fc.random.stream(seed=0, step=0):
    ...     layer.forward(x, training=True)[0]
    array([[0., 2., 2., 2., 2., 0., 2., 0.]], dtype=float32)
    """

    owns_grad = True
    setting_names = ("p",)

    def __init__(self, p: float = 0.5) -> None:
        self.p = validate.number(p, "p", low=0, high=1)

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x)
        if not training:
            return x, None
        key = random.next_key()
        y = self.backend.empty(x.shape, x.dtype)
        self.backend.dropout(x, p=self.p, key=key, out=y)
        return y, (key, x.shape)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        key, shape = self.check_context(context, 2)
        grad_output = self.check_grad(grad_output, shape)
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(shape, grad_output.dtype)
        self.backend.dropout(grad_output, p=self.p, key=key, out=grad_input)
        return grad_input


class SubsamplePad(Layer):
    """Every stride-th pixel, with channels of zeros around: (N, H, W, C) -> (N, ceil(H / stride), ceil(W / stride), K).

    The shortcut without parameters of CIFAR ResNets, option A of He et al. 2015 (https://arxiv.org/abs/1512.03385).
    Of the ``K - C`` new channels half, rounded down, come first.

    Parameters
    ----------
    out_channels : int
        K, at least the number of input channels.
    stride : int or (h, w)
        Every how many-th row and column is taken.

    Examples
    --------
    >>> fc.nn.SubsamplePad(8, stride=2).build((4, 4, 4))(np.zeros((1, 4, 4, 4), np.float32)).shape
    (1, 2, 2, 8)
    """

    owns_output = True
    owns_grad = True
    setting_names = ("out_channels", "stride")

    def __init__(self, out_channels: int, *, stride: PairLike = 1) -> None:
        self.out_channels = validate.at_least_one(out_channels, "out_channels")
        self.stride = as_pair(stride, "stride")

    def infer(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3 or input_shape[2] > self.out_channels:
            raise ShapeError(f"input_shape: got {input_shape}; allowed: (H, W, C) with C at most {self.out_channels}")
        return -(-input_shape[0] // self.stride[0]), -(-input_shape[1] // self.stride[1]), self.out_channels

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x, 4)
        y = self.backend.empty((x.shape[0], *self.infer(x.shape[1:])), x.dtype)
        self.backend.subsample_pad(x, stride=self.stride, before=(self.out_channels - x.shape[3]) // 2, out=y)
        return y, (x.shape if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        shape = self.check_context(context, "shape")
        grad_output = self.check_grad(grad_output, (shape[0], *self.infer(shape[1:])))
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(shape, grad_output.dtype)
        before = (self.out_channels - shape[3]) // 2
        self.backend.subsample_pad_backward(grad_output, stride=self.stride, before=before, out=grad_input)
        return grad_input
