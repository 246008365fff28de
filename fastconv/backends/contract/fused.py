"""Operations that do in one pass over memory what others do in several. The rules of operations.py hold.

What follows a convolution or a normalisation is one value, an `Epilogue`; each operation here is also how it is
composed of its parts, which may differ by rounding. A backend has its own for the epilogues that it declares in
`native`, and composes all others (see `Composing`). Mean and variance may have a second row everywhere, see
`Operations.batch_norm`.
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
    Precision,
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
            What comes before the activation: for a gradient that is computed from it.
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

    def conv2d_statistics(
        self,
        x: Array,
        weight: PreparedWeight,
        bias: Array | None,
        *,
        out: Array,
        mean: Array,
        var: Array,
        workspace: Workspace,
    ) -> None:
        """`conv2d`, and the mean and biased variance of each channel of its result, as `batch_norm` computes them.

        Parameters
        ----------
        out : (N, P, Q, K) array with at least one element a channel, written
            Of the type of x, or of `kept_dtype`.
        mean, var : (K,) or (2, K) arrays, written
        """
        self.conv2d(x, weight, bias, NO_EPILOGUE, out=out, workspace=workspace)
        zeros, not_wanted = workspace.empty(mean.shape[-1:], out.dtype), workspace.empty(out.shape, out.dtype)
        self.fill(0.0, out=zeros)
        self.batch_norm(out, zeros, zeros, eps=1.0, out=not_wanted, mean=mean, var=var, workspace=workspace)

    @abc.abstractmethod
    def conv2d_backward_input(
        self,
        grad_output: Array,
        weight: PreparedWeight,
        *,
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
        precision: Precision,
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

    def conv2d_backward_input_norm(
        self,
        grad_output: Array,
        weight: PreparedWeight,
        x: Array,
        gamma: Array,
        mean: Array,
        var: Array,
        epilogue: Epilogue,
        *,
        addend: Array | None = None,
        beta: Array | None = None,
        saved: Array | None = None,
        norm_addend: Array | None = None,
        eps: float,
        out: Array,
        grad_gamma: Array,
        grad_beta: Array,
        workspace: Workspace,
    ) -> None:
        """Gradient of what `normalise` applied its activation to, where a convolution of its result y is next.

        ``out = activate_backward(activation, conv2d_backward_input(grad_output, weight) + addend, saved)``; over all
        pixels, ``grad_beta`` is the sum of `out`, and ``grad_gamma`` that of ``out * (x - mean) / sqrt(var + eps)``.
        `batch_norm_backward_apply` gives the gradient of x.

        Parameters
        ----------
        grad_output : (N, P, Q, K) array
        weight : as of `conv2d_backward_input`
        x, gamma, mean, var, epilogue :
            Of `normalise`; the epilogue has an activation and no pooling.
        addend : (N, H, W, C) array or None
            As of `conv2d_backward_input`; `out` may be the same one.
        beta, saved, norm_addend :
            As `batch_norm_backward` takes `beta`, `saved` and `addend`.
        out : (N, H, W, C) array, written
        grad_gamma, grad_beta : (C,) arrays, written
        """
        part = workspace.empty(out.shape, out.dtype)
        self.conv2d_backward_input(grad_output, weight, out=part, workspace=workspace)
        if addend is not None:
            self.add(part, addend, out=part)
        norm = (x, gamma, beta, mean, var)
        through = (epilogue.activation, part, saved, norm_addend)
        self._back_through(norm, *through, eps=eps, out=out, workspace=workspace)
        grads = {"grad_input": part, "grad_gamma": grad_gamma, "grad_beta": grad_beta}  # the first is not wanted
        self.batch_norm_backward(out, x, gamma, mean, var, NO_EPILOGUE, eps=eps, **grads, workspace=workspace)

    # Batch normalisation

    @abc.abstractmethod
    def normalise(
        self,
        x: Array,
        gamma: Array,
        beta: Array,
        mean: Array,
        var: Array,
        epilogue: Epilogue,
        *,
        addend: Array | None = None,
        eps: float,
        out: Array,
        argmax: Array | None = None,
        workspace: Workspace,
    ) -> None:
        """``z = gamma * (x - mean) / sqrt(var + eps) + beta`` with the statistics given, and what follows it.

        Inference, and the second pass of a batch normalisation.

        Parameters
        ----------
        x : (N, H, W, C) or (N, C) array; the former if the epilogue pools
        gamma, beta : (C,) arrays
        mean, var : (C,) or (2, C) arrays
        addend : array like `x`, if the epilogue adds
        out : like `x`, or as of `max_pool2d` if the epilogue pools; written
        argmax : as of `max_pool2d`, if the epilogue pools; written
        """
        run = partial(self.normalise, x, gamma, beta, mean, var, eps=eps, workspace=workspace)
        self._follow(run, x.shape, epilogue, addend=addend, out=out, argmax=argmax, workspace=workspace)

    @abc.abstractmethod
    def batch_norm_backward(
        self,
        grad_output: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        var: Array,
        epilogue: Epilogue,
        *,
        beta: Array | None = None,
        saved: Array | None = None,
        addend: Array | None = None,
        argmax: Array | None = None,
        eps: float,
        grad_input: Array,
        grad_gamma: Array,
        grad_beta: Array,
        grad_addend: Array | None = None,
        workspace: Workspace,
    ) -> None:
        """Gradients of `batch_norm` with what followed it, through the statistics as well.

        With g the gradient before the epilogue, ``z = (x - mean) / sqrt(var + eps)`` and M elements a channel:
        ``grad_beta = sum g``, ``grad_gamma = sum g * z``,
        ``grad_input = gamma / sqrt(var + eps) * (g - grad_beta / M - z * grad_gamma / M)``, ``grad_addend = g``.

        Of a `mean` without a second row what the rounding left is found in `x`, where it is no more than a rounding. So
        a mean far from zero costs no accuracy here either: `grad_gamma` is off by at most
        ``1300 u * sum |g| (|z| + 1)``, for products ``g * (x - mean)`` up to 2^124 and a `var` that is finite, or has a
        second row.

        Parameters
        ----------
        grad_output : like the result of the epilogue
        beta, addend :
            Those of the forward, if the activation's gradient needs what came before it, which is computed again.
        saved : like the result of the epilogue, which it is
            If the activation needs that. Pooled, too: the largest value of a window tells all of its gradient.
        argmax : if the epilogue pools
        grad_addend : like `x`, written, if the epilogue adds
            May be `grad_output`.
        """
        activation, windows = epilogue.activation, epilogue.windows
        norm = (x, gamma, beta, mean, var)
        grads: Any = {"eps": eps, "grad_input": grad_input, "grad_gamma": grad_gamma, "grad_beta": grad_beta}
        if windows is not None:
            rest, grad = epilogue.unpooled, workspace.empty(x.shape, gamma.dtype)
            if activation is not None and activation.function.needs == "y":
                behind = workspace.empty(grad_output.shape, gamma.dtype)
                self.activate_backward(activation, grad_output, saved, out=behind)
                grad_output, rest = behind, Epilogue(epilogue.adds)
            self.max_pool2d_backward(grad_output, argmax, windows=windows, out=grad)
            grads |= {"beta": beta, "addend": addend, "grad_addend": grad_addend}
        else:
            rest, grad = NO_EPILOGUE, workspace.empty(x.shape, gamma.dtype) if grad_addend is None else grad_addend
            self._back_through(norm, activation, grad_output, saved, addend, eps=eps, out=grad, workspace=workspace)
        self.batch_norm_backward(grad, x, gamma, mean, var, rest, **grads, workspace=workspace)

    def _back_through(
        self,
        norm: tuple[Array, Array, Array, Array, Array],
        activation: Activation | None,
        grad_output: Array,
        saved: Array | None,
        addend: Array | None,
        *,
        eps: float,
        out: Array,
        workspace: Workspace,
    ) -> None:
        """Go back through the activation behind a normalisation of ``x, gamma, beta, mean, var``."""
        if activation is None:
            if out is not grad_output:
                self.copy(grad_output, out=out)
            return
        if activation.function.needs == "x":
            saved, adds = workspace.empty(norm[0].shape, norm[1].dtype), Epilogue(addend is not None)
            self.normalise(*norm, adds, addend=addend, eps=eps, out=saved, workspace=workspace)
        self.activate_backward(activation, grad_output, saved, out=out)

    def batch_norm_backward_apply(
        self,
        grad_output: Array,
        x: Array,
        gamma: Array,
        mean: Array,
        var: Array,
        *,
        grad_gamma: Array,
        grad_beta: Array,
        eps: float,
        grad_input: Array,
        workspace: Workspace,
    ) -> None:
        """The second pass of `batch_norm_backward`: the gradient of x from those of gamma and beta.

        With M pixels and ``rstd = 1 / sqrt(var + eps)``::

            grad_input = gamma * rstd * (grad_output - grad_beta / M - (x - mean) * rstd * grad_gamma / M)

        Only `grad_input` is written.
        """
        not_wanted = {name: workspace.empty(gamma.shape, gamma.dtype) for name in ("grad_gamma", "grad_beta")}
        grads = {"grad_input": grad_input, **not_wanted}
        self.batch_norm_backward(grad_output, x, gamma, mean, var, NO_EPILOGUE, eps=eps, **grads, workspace=workspace)

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


class Composing:
    """An operation of a backend whose kernels do the epilogues in `native`; `FusedOperations` composes all others.

    Stands in the body of the backend's class under the operation's name. What `run` is, that class would have there.
    """

    def __init__(self, run: Any, native: Native = Native()) -> None:  # noqa: B008 (a value that never changes)
        self._run, self._native = run, native

    def __set_name__(self, owner: type[FusedOperations], name: str) -> None:
        self._composed = getattr(FusedOperations, name)

    def __get__(self, backend: FusedOperations | None, owner: type[FusedOperations]) -> Any:
        run = self._run.__get__(backend, owner)
        return run if backend is None else partial(self._call, run, backend)

    def _call(self, run: Callable[..., None], backend: FusedOperations, *arrays: Any, **more: Any) -> None:
        if _asked(arrays, more) in self._native and (more.get("before") is None or self._native.keeps):
            run(*arrays, **more)
        else:
            self._composed(backend, *arrays, **more)


def _asked(arrays: tuple[Any, ...], more: Mapping[str, Any]) -> Epilogue:
    """Return the epilogue that an operation is called with; or what it goes back through, as one."""
    for given in arrays:
        if isinstance(given, Epilogue):
            return given
        if isinstance(given, Activation):
            return Epilogue(activation=given)
    return Epilogue(more.get("addend") is not None, more.get("activation"))
