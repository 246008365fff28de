"""Pooling layers. Global pooling is a window over the whole map."""

from __future__ import annotations

import abc
from functools import lru_cache
from typing import Any

from fastconv import _validate as validate
from fastconv._pooling import Pooling, index_dtype, pooling
from fastconv._shapes import PaddingLike, PairLike, as_pair, kept_padding
from fastconv.backends.contract.types import Array, DType, PoolWindows, Shape
from fastconv.kernels.geometry import whole_map
from fastconv.nn.core.checking import check_map
from fastconv.nn.core.layer import Context
from fastconv.nn.model.model import Layer

_pooling = lru_cache(maxsize=1024)(pooling)


class _Pool(Layer):
    """What all poolings share; a subclass says which windows, and what a window becomes."""

    owns_output = True
    owns_grad = True

    def windows_of(self, shape: Shape) -> PoolWindows:
        """Return the windows for an input of this shape.

        Parameters
        ----------
        shape : (N, H, W, C)
            Of the input.

        Returns
        -------
        PoolWindows
            As the backend takes them.
        """
        return self._pooling(shape).windows

    @abc.abstractmethod
    def _pooling(self, shape: Shape) -> Pooling:
        """Return the windows for an input of this shape, and the shape of the output for one image."""

    def _shown(self, shape: Shape) -> Shape:
        """Return the shape in which an output (N, P, Q, C) is given back."""
        return shape


class _Windows(_Pool):
    def __init__(
        self, kernel_size: PairLike, stride: PairLike | None, padding: PaddingLike, dilation: PairLike, ceil_mode: bool
    ) -> None:
        self.kernel_size = as_pair(kernel_size, "kernel_size")
        self.stride = self.kernel_size if stride is None else as_pair(stride, "stride")
        self.dilation = as_pair(dilation, "dilation")
        self.padding = kept_padding(padding)
        self.ceil_mode = validate.truth(ceil_mode, "ceil_mode")

    def infer(self, input_shape: Shape) -> Shape:
        return self._pooling((1, *check_map(input_shape))).out_shape[1:]

    def settings(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "stride": None if self.stride == self.kernel_size else self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }

    def _pooling(self, shape: Shape, **mode: bool) -> Pooling:
        one = (1, *shape[1:])  # so that batches of all sizes share an entry
        window = (self.kernel_size, self.stride, self.padding)
        return _pooling(one, "x", *window, dilation=self.dilation, ceil_mode=self.ceil_mode, **mode)


class _WholeMap(_Pool):
    setting_names = ()

    def infer(self, input_shape: Shape) -> Shape:
        return check_map(input_shape)[2:]

    def _pooling(self, shape: Shape) -> Pooling:
        return Pooling(whole_map(shape[1], shape[2]), (1, 1, 1, shape[3]))

    def _shown(self, shape: Shape) -> Shape:
        return shape[0], shape[3]


class _Max(_Pool):
    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x, 4)
        y, argmax, windows = self.prepare(x.shape, x.dtype)
        self.backend.max_pool2d(x, windows=windows, out=y, argmax=argmax)
        return y.reshape(self._shown(y.shape)), ((argmax, x.shape) if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        argmax, shape = self.check_context(context, 2)
        grad_output = self.check_grad(grad_output, self._shown(argmax.shape)).reshape(argmax.shape)
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(shape, grad_output.dtype)
        self.backend.max_pool2d_backward(grad_output, argmax, windows=self.windows_of(shape), out=grad_input)
        return grad_input

    def prepare(self, shape: Shape, dtype: DType) -> tuple[Array, Array, PoolWindows]:
        """Return what a pooling of an input of this shape writes to, and the windows: fused steps call it too.

        Parameters
        ----------
        shape : (N, H, W, C)
            Of the input.
        dtype : dtype
            Of the input.

        Returns
        -------
        y : (N, P, Q, C) array
            For the output.
        argmax : (N, P, Q, C) array of int
            For the places of the largest values in their windows.
        windows : PoolWindows
            As the backend takes them.
        """
        windows, out_shape = self._pooling(shape)
        pooled = (shape[0], *out_shape[1:])
        y = self.backend.empty(pooled, dtype)
        return y, self.backend.empty(pooled, index_dtype(windows.kernel_size)), windows


class _Mean(_Pool):
    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x, 4)
        windows, out_shape = self._pooling(x.shape)
        y = self.backend.empty((x.shape[0], *out_shape[1:]), x.dtype)
        self.backend.avg_pool2d(x, windows=windows, out=y)
        return y.reshape(self._shown(y.shape)), (x.shape if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        shape = self.check_context(context, "shape")
        windows, out_shape = self._pooling(shape)
        pooled = (shape[0], *out_shape[1:])
        grad_output = self.check_grad(grad_output, self._shown(pooled)).reshape(pooled)
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(shape, grad_output.dtype)
        self.backend.avg_pool2d_backward(grad_output, windows=windows, out=grad_input)
        return grad_input


class MaxPool2d(_Max, _Windows):
    """Largest value of each window: (N, H, W, C) -> (N, P, Q, C); see `fastconv.functional.max_pool2d`.

    Parameters
    ----------
    kernel_size : int or (h, w)
        Of the window.
    stride : int, (h, w) or None
        `kernel_size` if None.
    padding, dilation, ceil_mode :
        As of the function.

    Examples
    --------
    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> fc.nn.MaxPool2d(2).build((4, 4, 1), np.float64)(x)[0, ..., 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """

    def __init__(
        self,
        kernel_size: PairLike,
        *,
        stride: PairLike | None = None,
        padding: PaddingLike = 0,
        dilation: PairLike = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)


class AvgPool2d(_Mean, _Windows):
    """Mean of each window: (N, H, W, C) -> (N, P, Q, C); see `fastconv.functional.avg_pool2d`.

    Parameters
    ----------
    kernel_size : int or (h, w)
        Of the window.
    stride : int, (h, w) or None
        `kernel_size` if None.
    padding, ceil_mode, count_include_pad :
        As of the function.

    Examples
    --------
    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> fc.nn.AvgPool2d(2).build((4, 4, 1), np.float64)(x)[0, ..., 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """

    def __init__(
        self,
        kernel_size: PairLike,
        *,
        stride: PairLike | None = None,
        padding: PaddingLike = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = validate.truth(count_include_pad, "count_include_pad")

    def settings(self) -> dict[str, Any]:
        of_all = super().settings()
        del of_all["dilation"]  # which it has not
        return {**of_all, "count_include_pad": self.count_include_pad}

    def _pooling(self, shape: Shape, **mode: bool) -> Pooling:
        return super()._pooling(shape, count_include_pad=self.count_include_pad)


class GlobalMaxPool2d(_Max, _WholeMap):
    """Largest value of each channel: (N, H, W, C) -> (N, C).

    Examples
    --------
    >>> fc.nn.GlobalMaxPool2d().build((2, 2, 1), np.float64)(np.arange(4.0).reshape(1, 2, 2, 1))
    array([[3.]])
    """


class GlobalAvgPool2d(_Mean, _WholeMap):
    """Mean of each channel: (N, H, W, C) -> (N, C).

    Examples
    --------
    >>> fc.nn.GlobalAvgPool2d().build((2, 2, 1), np.float64)(np.arange(4.0).reshape(1, 2, 2, 1))
    array([[1.5]])
    """
