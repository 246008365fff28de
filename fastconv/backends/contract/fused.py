"""Operations that do in one pass over memory what others do in several. The rules of operations.py hold.

What follows a convolution or a normalisation is one value, an `Epilogue`; each operation here is also how it is
composed of its parts, which may differ by rounding. A backend has its own for the epilogues that it declares in
`native`, and composes all others (see `Composing`).
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from fastconv.backends.contract.operations import Operations
from fastconv.backends.contract.types import (
    AlgorithmChoice,
    Array,
    ConvGeometry,
    PoolWindows,
    PrecisionChoice,
    PreparedWeight,
    Shape,
    Workspace,
)
from fastconv.kernels.epilogue import NO_EPILOGUE, Epilogue, Native
from fastconv.kernels.pointwise import Activation


class FusedOperations(Operations):
    """The operations with what follows or precedes them."""

    native: ClassVar[Mapping[str, Native]] = {}
    """What the kernels do in their own pass, by operation; without an entry, all is composed."""

    # Convolution

    @abc.abstractmethod
    def conv2d(
        self,
        x: Array,
        weight: PreparedWeight,
        bias: Array | None,
        epilogue: Epilogue,
        *,
        addend: Array | None = None,
        out: Array,
        before: Array | None = None,
        argmax: Array | None = None,
        workspace: Workspace,
    ) -> None:
        """Convolution (cross-correlation), and what follows it.

        ``z[n, p, q, k] = bias[k] + sum over r, s, c of
        x[n, p * stride_h - top + r * dilation_h, q * stride_w - left + s * dilation_w, g * (C // groups) + c]
        * weight[r, s, c, k]`` with ``g = k // (K // groups)``; positions outside `x` are skipped.

        Parameters
        ----------
        x : (N, H, W, C) array
        weight : prepared from an (R, S, C // groups, K) array
        bias : (K,) array or None
        addend : (N, P, Q, K) array, if the epilogue adds
        out : (N, P, Q, K) array, or as of `max_pool2d` if the epilogue pools; written
            ``P = floor((H + top + bottom - dilation_h * (R - 1) - 1) / stride_h) + 1``, and Q likewise.
        before : (N, P, Q, K) array or None, written
            What comes before the activation, of the type of `out`: for one whose gradient needs that (`Pointwise.needs`
            is "x"), and only then. What else is asked for is refused, see checking.py.
        argmax : as of `max_pool2d`, if the epilogue pools; written
        """
        shape = (x.shape[0], *weight.geometry.output_size(*x.shape[1:3]), weight.weight.shape[3])
        run = partial(self.conv2d, x, weight, bias, workspace=workspace)
        arrays: Any = {"addend": addend, "out": out, "before": before, "argmax": argmax}
        self._follow(run, shape, epilogue, **arrays, workspace=workspace)

    def _follow(
        self,
        run: Callable[..., None],
        shape: Shape,
        epilogue: Epilogue,
        *,
        addend: Array | None,
        out: Array,
        before: Array | None = None,
        argmax: Array | None,
        workspace: Workspace,
    ) -> None:
        """Compose `run`, which gives an array of that shape, of less and the last part of the epilogue."""
        activation, windows = epilogue.activation, epilogue.windows
        if windows is not None:
            y = workspace.empty(shape, out.dtype)
            run(epilogue.unpooled, addend=addend, out=y, **({} if before is None else {"before": before}))
            self.max_pool2d(y, windows=windows, out=out, argmax=argmax)
        elif activation is not None:
            z = out if before is None else before
            run(Epilogue(epilogue.adds), addend=addend, out=z)
            self.activate(activation, z, out=out)
        else:
            in_place = addend is out
            z = workspace.empty(shape, out.dtype) if in_place else out
            run(NO_EPILOGUE, out=z)
            self.add(z, addend, out=out)

    @abc.abstractmethod
    def conv2d_backward_input(
        self,
        grad_output: Array,
        weight: PreparedWeight,
        *,
        bias: Array | None = None,
        addend: Array | None = None,
        activation: Activation | None = None,
        saved: Array | None = None,
        grad_bias: Array | None = None,
        out: Array,
        workspace: Workspace,
    ) -> None:
        """Gradient of `conv2d` with respect to `x`, given that with respect to y, and back through what made x.

        ``grad_input[n, h, w, c] = sum over r, s, k of grad_output[n, p, q, k] * weight[r, s, c % (C // groups), k]``
        over the `k` of the group of `c` and those ``p, q`` with ``p * stride_h - top + r * dilation_h = h`` (and the
        same for `w`). Then ``out = activate_backward(activation, grad_input + addend, saved)``.

        Parameters
        ----------
        grad_output : (N, P, Q, K) array
        weight : prepared with the transposed geometry
        bias : (C,) array or None
            Added where this is a transposed convolution of its own; only without an addend and an activation.
        addend : (N, H, W, C) array or None
            The gradient from another path, where the paths of a shortcut meet; may be `out`.
        activation : Activation or None
            Where ``x = activation(z + bias)``; `out` is the gradient of z then.
        saved : (N, H, W, C) array, if there is an activation
            Its result x, or what came before it, as it needs.
        grad_bias : (C,) array or None, written
            The sum of `out` over all axes but the last; only with an activation.
        out : (N, H, W, C) array, written
        """
        if activation is None:
            part = workspace.empty(out.shape, out.dtype)
            self.conv2d_backward_input(grad_output, weight, out=part, workspace=workspace)
            self.add(part, addend, out=out)
            return
        self.conv2d_backward_input(grad_output, weight, addend=addend, out=out, workspace=workspace)
        if grad_bias is None:
            self.activate_backward(activation, out, saved, out=out)
        else:
            self.activate_backward_bias(activation, out, saved, out=out, grad_bias=grad_bias, workspace=workspace)

    def conv2d_max_pool2d_backward(
        self,
        grad_output: Array,
        argmax: Array,
        x: Array,
        weight: PreparedWeight | None,
        *,
        geometry: ConvGeometry,
        windows: PoolWindows,
        precision: PrecisionChoice,
        algorithm: AlgorithmChoice,
        activation: Activation | None = None,
        saved: Array | None = None,
        grad_weight: Array,
        grad_input: Array | None,
        grad_bias: Array | None = None,
        workspace: Workspace,
    ) -> None:
        """Gradients of weight and input of ``max_pool2d(conv2d(x, weight))``, and back through what made x.

        Parameters
        ----------
        grad_output, argmax : (N, P, Q, K) arrays
            Of the pooling's result.
        weight : PreparedWeight or None
            For `conv2d_backward_input`; None without `grad_input`.
        geometry : ConvGeometry
            Of the convolution.
        windows : PoolWindows
        activation, saved, grad_bias :
            As of `conv2d_backward_input`; only with `grad_input`.
        grad_weight : (R, S, C / groups, K) array, written
        grad_input : (N, H, W, C) array, written, or None
        """
        size = geometry.output_size(*x.shape[1:3])
        grad = workspace.empty((x.shape[0], *size, grad_weight.shape[3]), grad_output.dtype)
        self.max_pool2d_backward(grad_output, argmax, windows=windows, out=grad)
        how: Any = {"geometry": geometry, "precision": precision, "algorithm": algorithm}
        self.conv2d_backward_weight(grad, x, **how, out=grad_weight, workspace=workspace)
        if grad_input is not None and weight is not None:
            through: Any = {"activation": activation, "saved": saved, "grad_bias": grad_bias}
            self.conv2d_backward_input(grad, weight, **through, out=grad_input, workspace=workspace)

    # Activation

    def activate_backward_bias(
        self,
        activation: Activation,
        grad_output: Array,
        saved: Array,
        *,
        out: Array,
        grad_bias: Array,
        workspace: Workspace,
    ) -> None:
        """`activate_backward`, and ``grad_bias = sum_rows(out)``."""
        self.activate_backward(activation, grad_output, saved, out=out)
        self.sum_rows(out, out=grad_bias, workspace=workspace)
