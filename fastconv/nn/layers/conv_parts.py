"""The parts that `Conv2d` is made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastconv._shapes import PaddingLike, as_padding, output_size
from fastconv.algorithm import get_algorithm
from fastconv.backends.contract.types import Array, ConvGeometry, Pair, PoolWindows, PreparedWeight, Shape
from fastconv.kernels.epilogue import NO_EPILOGUE, Epilogue
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


class ConvParts(Convolving):
    """The steps of a convolution's forward and backward, each by itself, which fused steps call too.

    See fastconv/nn/fused.
    """

    def checked_input(self, x: Array, *, stored: bool = False) -> Array:
        """Return `x` in the form that the backend takes, or say what is wrong with it.

        Parameters
        ----------
        x : (N, H, W, C) array
            What came in.
        stored : bool
            Whether it may come as the backend stores activations, in bfloat16 say.

        Returns
        -------
        (N, H, W, C) array
            In memory as the backend wants it.
        """
        backend = self.backend  # says so if the layer is not built
        if stored and x.dtype == backend.kept_dtype(self.dtype, get_precision()) != self.dtype:
            return x
        return self.check_input(x, 4, self.weight.shape[2] * self.groups)

    def fold(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Take other values, in parameters of its own: for a copy of the layer.

        Parameters
        ----------
        weight : (R, S, C // groups, K) numpy.ndarray
            In place of the weight.
        bias : (K,) numpy.ndarray
            In place of the bias, which it has from then on.
        """
        backend, dtype = self.backend, self.dtype
        with self.unlocked():  # parameters are not replaced elsewhere
            self.weight, self.bias = Parameter("weight", weight.shape), Parameter("bias", bias.shape)
        allocate(backend, dtype, [(self.weight, weight), (self.bias, bias)])
        self._prepared = PreparedWeights(self.weight)

    def convolve(
        self, x: Array, epilogue: Epilogue = NO_EPILOGUE, *, out: Array | None = None, **arrays: Array | None
    ) -> Array:
        """Return the result of the convolution, and of what follows it.

        Parameters
        ----------
        x : (N, H, W, C) array
            The input, checked.
        epilogue : Epilogue
            What follows.
        out : array or None
            Where it is written; new if None.
        **arrays
            The others of `Backend.conv2d`, which the epilogue reads or writes.

        Returns
        -------
        (N, P, Q, K) array
            `out`, or what was made.
        """
        backend, bias = self.backend, None if self.bias is None else self.bias.array
        weight = self._prepare(self._plan(x.shape[1:]).geometry, x.shape)
        y = backend.empty(self.output_shape(x.shape), self.dtype) if out is None else out
        backend.conv2d(x, weight, bias, epilogue, out=y, workspace=backend.pool, **arrays)
        return y

    def statistics(self, x: Array, epilogue: Epilogue = NO_EPILOGUE, **arrays: Array | None) -> None:
        """Convolve without the bias, and take mean and variance of the result after a pooling, if there is one.

        Parameters
        ----------
        x : (N, H, W, C) array
            The input, checked.
        epilogue : Epilogue
            The pooling, if there is one.
        **arrays
            Where the results are written: see `Backend.conv2d_statistics`.
        """
        backend = self.backend
        weight = self._prepare(self._plan(x.shape[1:]).geometry, x.shape)
        backend.conv2d_statistics(x, weight, None, epilogue, **arrays, workspace=backend.pool)

    def why(self, input_shape: Shape) -> Sequence[str]:
        """Return why the backend takes the kernels that it takes.

        Parameters
        ----------
        input_shape : (N, H, W, C)
            Of the input.

        Returns
        -------
        sequence of str
            What `Backend.conv2d_reasons` says, for `fastconv.explain`.
        """
        return self.backend.conv2d_reasons(
            self.weight.array,
            geometry=self._plan(input_shape[1:]).geometry,
            input_shape=input_shape,
            precision=get_precision(),
            algorithm=get_algorithm(),
        )

    def no_gradient_of_bias(self) -> None:
        """Add zero to the gradient of the bias, if there is one: what it is before a normalisation."""
        if (bias := self.trained_bias) is not None:
            target = bias.grad_target()
            self.backend.fill(0.0, out=target)
            bias.add_grad(target)

    def backward_weight(self, grad_output: Array, x: Array) -> None:
        """Add the gradient of the weight; nothing is computed if it is frozen.

        Parameters
        ----------
        grad_output : (N, P, Q, K) array
            Gradient of the output.
        x : (N, H, W, C) array
            The input.
        """
        self._add_weight_gradient(grad_output, x, self._plan(x.shape[1:]).geometry)

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

        Parameters
        ----------
        grad_output : (N, P, Q, K) array
            Gradient of the output.
        x : (N, H, W, C) array
            The input.
        addend : (N, H, W, C) array or None
            Is added, and the result written there.
        bias : Parameter or None
            Gets the sum of the result added to its gradient.
        **through
            `activation` and `saved`, with which it goes on through the activation that made x.

        Returns
        -------
        (N, H, W, C) array
            `addend`, or a new one.
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
        """Add the gradient of the weight and return that of the input, from that of a max pooling's result.

        Parameters
        ----------
        grad_output : array
            Gradient of what was pooled.
        x : (N, H, W, C) array
            The input of the convolution.
        argmax : array
            Where in its window each value was.
        windows : PoolWindows
            Those of the pooling.
        needs_input_grad : bool
            Whether the gradient of the input is wanted.
        bias, **through
            As of `backward_input`.

        Returns
        -------
        (N, H, W, C) array or None
            Gradient of the input, None if it is not wanted.
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
        """Return the gradient through the normalisation that made x and write those of its parameters.

        Parameters
        ----------
        grad_output : array
            Gradient of the output; with `argmax` and `windows`, of a max pooling's result.
        x : (N, H, W, C) array
            The input of the convolution.
        *norm
            What `Backend.conv2d_backward_input_norm` takes of the normalisation.
        addend : (N, H, W, C) array or None
            Is added first, and the result written there.
        **more
            The other arguments of that operation.

        Returns
        -------
        (N, H, W, C) array
            `addend`, or a new one.
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
