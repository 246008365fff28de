"""Batch normalisation (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167), over all axes but the last.

With what follows it and with convolutions on both sides, as in fused.py. Mean and variance may have a second row
everywhere, see `Normalisations.batch_norm`.
"""

from __future__ import annotations

import abc
from functools import partial
from typing import Any

from fastconv.backends.contract.fused import FusedOperations
from fastconv.backends.contract.types import Array, PoolWindows, PreparedWeight, Workspace
from fastconv.kernels.epilogue import NO_EPILOGUE, Epilogue
from fastconv.kernels.pointwise import Activation


class Normalisations(FusedOperations):
    """The operations of batch normalisation."""

    @abc.abstractmethod
    def batch_norm(
        self,
        x: Array,
        gamma: Array,
        beta: Array,
        *,
        eps: float,
        out: Array,
        mean: Array,
        var: Array,
        workspace: Workspace,
    ) -> None:
        """Normalise with the statistics of this batch.

        ``y = gamma * (x - mean) / sqrt(var + eps) + beta`` per channel, ``var`` biased (divided by the count).

        Sums are of distances, in parts, and these are added in float64; and the mean that is subtracted is not rounded.
        So a mean far from zero costs no accuracy: with ``z = (x - mean) / sqrt(var + eps)``, y is off by at most
        ``1300 u * (|gamma| * (|z| + 1) + |beta|)`` (u is half the type's eps; some 4 u where roundings do not agree).
        That holds for numbers up to 2^126 in float32, and in float64 as long as the variance is finite. A variance
        below the smallest normal number counts as zero.

        Parameters
        ----------
        x : (N, H, W, C) or (N, C) array; at least one element a channel
        gamma, beta : (C,) arrays
        out : like `x`, written
        mean, var : (C,) or (2, C) arrays, written
            A second row of `mean` takes what its rounding left, one of `var` the standard deviation, which is finite
            where a variance in float32 is not. All operations that take statistics heed such rows.
        """

    @abc.abstractmethod
    def update_running_stats(
        self, mean: Array, var: Array, *, momentum: float, count: int, running_mean: Array, running_var: Array
    ) -> None:
        """``running = (1 - momentum) * running + momentum * batch``, in place; all (C,).

        The variance stored is the unbiased one, ``var * count / (count - 1)``, as in PyTorch; the biased one with a
        count of 1.
        """

    def conv2d_statistics(
        self,
        x: Array,
        weight: PreparedWeight,
        bias: Array | None,
        epilogue: Epilogue,
        *,
        out: Array,
        argmax: Array | None = None,
        mean: Array,
        var: Array,
        workspace: Workspace,
    ) -> None:
        """`conv2d`, and the mean and biased variance of each channel of its result, as `batch_norm` computes them.

        Parameters
        ----------
        epilogue : Epilogue
            That adds nothing: a pooling between the convolution and its normalisation, or nothing.
        out, argmax : as of `conv2d`, with at least one element a channel; written
        mean, var : (K,) or (2, K) arrays, written
        """
        self.conv2d(x, weight, bias, epilogue, out=out, argmax=argmax, workspace=workspace)
        zeros, not_wanted = workspace.empty(mean.shape[-1:], out.dtype), workspace.empty(out.shape, out.dtype)
        self.fill(0.0, out=zeros)
        self.batch_norm(out, zeros, zeros, eps=1.0, out=not_wanted, mean=mean, var=var, workspace=workspace)

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
                grad_before = workspace.empty(grad_output.shape, gamma.dtype)
                self.activate_backward(activation, grad_output, saved, out=grad_before)
                grad_output, rest = grad_before, Epilogue(epilogue.adds)
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
        """Go back through the activation after a normalisation of ``x, gamma, beta, mean, var``."""
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

        The sums may be those of more pixels than are here, each times the share that these are of them. Only
        `grad_input` is written.
        """
        zeros, part = workspace.empty(gamma.shape, gamma.dtype), workspace.empty(x.shape, x.dtype)
        self.fill(0.0, out=zeros)
        more: Any = {"eps": eps, "workspace": workspace}

        def spread(sums: Array) -> Array:
            """Return ``-gamma * rstd * sums / M``."""
            out = workspace.empty((1, *gamma.shape), gamma.dtype)
            rows = sums.reshape(1, -1)
            self.normalise(rows, gamma, zeros, zeros, var, NO_EPILOGUE, out=out, **more)
            self.scale(out, factor=-x.shape[-1] / x.size, out=out)
            return out.reshape(gamma.shape)

        self.normalise(x, spread(grad_gamma), spread(grad_beta), mean, var, NO_EPILOGUE, out=part, **more)
        self.normalise(grad_output, gamma, zeros, zeros, var, NO_EPILOGUE, out=grad_input, **more)
        self.add(grad_input, part, out=grad_input)

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
        argmax: Array | None = None,
        windows: PoolWindows | None = None,
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
            Of the convolution's result; or, with `windows`, of what `max_pool2d` made of that.
        weight : as of `conv2d_backward_input`
        x, gamma, mean, var, epilogue :
            Of `normalise`; the epilogue has an activation and no pooling.
        addend : (N, H, W, C) array or None
            As of `conv2d_backward_input`; `out` may be the same one.
        beta, saved, norm_addend :
            As `batch_norm_backward` takes `beta`, `saved` and `addend`.
        argmax, windows :
            As of `max_pool2d_backward`, if a pooling stands after the convolution.
        out : (N, H, W, C) array, written
        grad_gamma, grad_beta : (C,) arrays, written
        """
        if windows is not None:
            size = weight.geometry.transposed().output_size(*out.shape[1:3])
            grad = workspace.empty((out.shape[0], *size, grad_output.shape[3]), grad_output.dtype)
            self.max_pool2d_backward(grad_output, argmax, windows=windows, out=grad)
            grad_output = grad
        part = workspace.empty(out.shape, out.dtype)
        self.conv2d_backward_input(grad_output, weight, out=part, workspace=workspace)
        if addend is not None:
            self.add(part, addend, out=part)
        norm = (x, gamma, beta, mean, var)
        through = (epilogue.activation, part, saved, norm_addend)
        self._back_through(norm, *through, eps=eps, out=out, workspace=workspace)
        grads = {"grad_input": part, "grad_gamma": grad_gamma, "grad_beta": grad_beta}  # the first is not wanted
        self.batch_norm_backward(out, x, gamma, mean, var, NO_EPILOGUE, eps=eps, **grads, workspace=workspace)
