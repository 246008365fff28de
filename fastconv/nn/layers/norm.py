"""Batch normalisation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ArgumentError, ShapeError
from fastconv.kernels.epilogue import NO_EPILOGUE
from fastconv.nn.core.layer import Context
from fastconv.nn.core.parameter import Buffer, Parameter
from fastconv.nn.core.scope import Scope
from fastconv.nn.model.model import Layer


class BatchNorm2d(Layer):
    """Normalise each channel: (N, H, W, C) or (N, C) -> the same (Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167).

    In training with the statistics of the batch, which move the running ones: ``running = (1 - momentum) * running +
    momentum * batch``, the variance stored being the unbiased one, as in PyTorch. Else with the running ones, and so
    too in training while it is frozen (`Layer.freeze`): then they do not move, as Keras has it, and PyTorch where the
    layer is in evaluation mode too.

    Parameters
    ----------
    eps : float
        Above 0; added to the variance.
    momentum : float
        Weight of the new statistics, as in PyTorch; what Keras calls so is the weight of the old.
    scale : bool
        Whether gamma is trained, as Keras calls it. If not it is a buffer of ones, that files of weights hold as well.

    Attributes
    ----------
    gamma : Parameter of shape (C,), or Buffer
    beta : Parameter of shape (C,)
    running_mean, running_var : Buffer of shape (C,)

    Examples
    --------
    >>> layer = fc.nn.BatchNorm2d().build((1,), np.float64)
    >>> y, context = layer.forward(np.array([[1.0], [3.0]]), training=True)
    >>> y.round(3).ravel().tolist(), layer.running_mean.data.tolist()
    ([-1.0, 1.0], [0.2])
    """

    owns_output = True
    owns_grad = True
    setting_names = ("eps", "momentum", "scale")
    fuses: ClassVar[bool] = True  # whether it may run as one with the layers around it
    gamma: Parameter | Buffer
    beta: Parameter
    running_mean: Buffer
    running_var: Buffer

    def __init__(self, *, eps: float = 1e-5, momentum: float = 0.1, scale: bool = True) -> None:
        self.eps = validate.number(eps, "eps", low=0, open_low=True)
        self.momentum = validate.number(momentum, "momentum", low=0)
        if self.momentum > 1:
            raise ArgumentError(f"momentum: got {momentum!r}; allowed: a number from 0 to 1")
        self.scale = validate.truth(scale, "scale")

    @property
    def is_frozen(self) -> bool:
        """Whether gamma, if it is trained, and beta are frozen, and with them the running statistics."""
        return self.beta.is_frozen and (not isinstance(self.gamma, Parameter) or self.gamma.is_frozen)

    def infer(self, input_shape: Shape) -> Shape:
        if len(input_shape) not in (1, 3):
            raise ShapeError(f"input_shape: got {input_shape}; allowed: (H, W, C) or (C,)")
        return input_shape

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        shape = self.infer(input_shape)[-1:]
        self.gamma = (
            scope.parameter("gamma", shape, init="ones") if self.scale else scope.buffer("gamma", shape, value=1.0)
        )
        self.beta = scope.parameter("beta", shape, init="zeros")
        self.running_mean = scope.buffer("running_mean", shape, value=0.0)
        self.running_var = scope.buffer("running_var", shape, value=1.0)
        return input_shape

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        backend = self.backend
        x = self.check_input(x, None, self.gamma.shape[0])
        if x.ndim not in (2, 4):
            raise ShapeError(f"x of BatchNorm2d: got shape {tuple(x.shape)}; allowed: (N, H, W, C) or (N, C)")
        y = backend.empty(x.shape, x.dtype)
        gamma, beta = self.gamma.array, self.beta.array
        running_mean, running_var = self.running_mean.array, self.running_var.array
        if not training or self.is_frozen:
            norm = (gamma, beta, running_mean, running_var, NO_EPILOGUE)
            backend.normalise(x, *norm, eps=self.eps, out=y, workspace=backend.pool)
            return y, ((x, running_mean, running_var) if training else None)
        count = math.prod(x.shape[:-1])
        if count == 0:
            raise ShapeError(f"x of BatchNorm2d: got shape {tuple(x.shape)} in training; allowed: at least one image")
        mean, var = self.empty_statistics()
        backend.batch_norm(x, gamma, beta, eps=self.eps, out=y, mean=mean, var=var, workspace=backend.pool)
        self.update(mean[0], var[0], count)
        return y, (x, mean, var)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        backend = self.backend
        x, mean, var = self.check_context(context, 3)
        grad_output = self.check_grad(grad_output, x.shape)
        if mean.ndim == 1:
            return self.backward_running(grad_output, var) if needs_input_grad else None
        grad_input = backend.empty(x.shape, x.dtype)
        targets = self.grad_targets()
        backend.batch_norm_backward(
            grad_output,
            x,
            self.gamma.array,
            mean,
            var,
            NO_EPILOGUE,
            eps=self.eps,
            grad_input=grad_input,
            **targets,
            workspace=backend.pool,
        )
        self.add_grads(targets)
        return grad_input if needs_input_grad else None

    # The parts, which fused steps call too (see fastconv/nn/fused)

    def empty_statistics(self) -> tuple[Array, Array]:
        """Return where mean and variance of a batch are to be written.

        Returns
        -------
        mean, var : (2, C) array
            Each with its second row: see `Backend.batch_norm`.
        """
        shape, dtype = (2, *self.gamma.shape), self.dtype
        return self.backend.empty(shape, dtype), self.backend.empty(shape, dtype)

    def backward_running(self, grad_output: Array, var: Array) -> Array:
        """Return the gradient of the input where running statistics were used: ``gamma / sqrt(var + eps)`` times it.

        Parameters
        ----------
        grad_output : (N, ..., C) array
            Gradient of the output.
        var : (C,) array
            The running variance that was used.

        Returns
        -------
        (N, ..., C) array
            New.
        """
        backend, zeros = self.backend, self.backend.empty(var.shape, var.dtype)
        backend.fill(0.0, out=zeros)
        grad_input = backend.empty(grad_output.shape, grad_output.dtype)
        norm = (self.gamma.array, zeros, zeros, var, NO_EPILOGUE)
        backend.normalise(grad_output, *norm, eps=self.eps, out=grad_input, workspace=backend.pool)
        return grad_input

    def update(self, mean: Array, var: Array, count: int) -> None:
        """Move the running statistics towards those of a batch.

        Parameters
        ----------
        mean, var : (C,) array
            Of the batch, the variance biased.
        count : int
            How many elements a channel had.
        """
        self.backend.update_running_stats(
            mean,
            var,
            momentum=self.momentum,
            count=count,
            running_mean=self.running_mean.array,
            running_var=self.running_var.array,
        )

    def grad_targets(self) -> dict[str, Array]:
        """Return where the gradients of gamma and beta are to be written; kernels need both, trained or not.

        Returns
        -------
        dict of str to array
            "grad_gamma" and "grad_beta", (C,) each.
        """
        gamma = self.gamma
        target = gamma.grad_target() if isinstance(gamma, Parameter) else self.backend.empty(gamma.shape, self.dtype)
        return {"grad_gamma": target, "grad_beta": self.beta.grad_target()}

    def add_grads(self, targets: Mapping[str, Array]) -> None:
        """Count in what was written to `grad_targets`.

        Parameters
        ----------
        targets : mapping of str to array
            What `grad_targets` returned.
        """
        if isinstance(self.gamma, Parameter):
            self.gamma.add_grad(targets["grad_gamma"])
        self.beta.add_grad(targets["grad_beta"])
