"""Normalisation within an image: over groups of channels, and across channels."""

from __future__ import annotations

from typing import Any

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ShapeError
from fastconv.nn.core.layer import Context
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.scope import Scope
from fastconv.nn.model.model import Layer


class GroupNorm(Layer):
    """Normalise groups of channels of each image: (N, H, W, C) or (N, C) -> the same.

    ``y = gamma * (x - mean) / sqrt(var + eps) + beta``, mean and biased variance over all pixels and the channels of a
    group, as PyTorch; the same in training and inference (Wu and He 2018, https://arxiv.org/abs/1803.08494). One group
    is layer normalisation over an image, a group a channel is instance normalisation.

    Parameters
    ----------
    num_groups : int
        A divisor of the channels.
    eps : float
        Above 0; added to the variance.
    affine : bool
        Whether there are gamma and beta, one for each channel.

    Attributes
    ----------
    gamma, beta : Parameter of shape (C,), or None

    Examples
    --------
    >>> layer = fc.nn.GroupNorm(1).build((4,), np.float64)
    >>> layer(np.array([[1.0, 1.0, 3.0, 3.0]])).round(3)
    array([[-1., -1.,  1.,  1.]])
    """

    owns_output = True
    owns_grad = True
    setting_names = ("num_groups", "eps", "affine")
    gamma: Parameter | None
    beta: Parameter | None

    def __init__(self, num_groups: int, *, eps: float = 1e-5, affine: bool = True) -> None:
        self.num_groups = validate.at_least_one(num_groups, "num_groups")
        self.eps = validate.number(eps, "eps", low=0, open_low=True)
        self.affine = validate.truth(affine, "affine")

    def infer(self, input_shape: Shape) -> Shape:
        if len(input_shape) not in (1, 3):
            raise ShapeError(f"input_shape: got {input_shape}; allowed: (H, W, C) or (C,)")
        if input_shape[-1] % self.num_groups:
            raise ShapeError(f"num_groups: got {self.num_groups}; allowed: a divisor of the {input_shape[-1]} channels")
        return input_shape

    def setup(self, input_shape: Shape, scope: Scope) -> Shape:
        shape = self.infer(input_shape)[-1:]
        self._channels = shape[0]
        self.gamma = scope.parameter("gamma", shape, init="ones") if self.affine else None
        self.beta = scope.parameter("beta", shape, init="zeros") if self.affine else None
        return input_shape

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        backend = self.backend
        x = self.check_input(x, None, self._channels)
        if x.ndim not in (2, 4):
            raise ShapeError(f"x of GroupNorm: got shape {tuple(x.shape)}; allowed: (N, H, W, C) or (N, C)")
        y, stats = backend.empty(x.shape, x.dtype), (x.shape[0], self.num_groups)
        mean, rstd = backend.empty((2, *stats), x.dtype), backend.empty(stats, x.dtype)
        gamma, beta = (None if p is None else p.array for p in (self.gamma, self.beta))
        backend.group_norm(x, gamma, beta, eps=self.eps, out=y, mean=mean, rstd=rstd, workspace=backend.pool)
        return y, ((x, mean, rstd) if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        backend, gamma, beta = self.backend, self.gamma, self.beta
        x, mean, rstd = self.check_context(context, 3)
        grad_output = self.check_grad(grad_output, x.shape)
        grads: dict[str, Any] = {"grad_input": backend.empty(x.shape, x.dtype), "workspace": backend.pool}
        if gamma is None or beta is None:
            backend.group_norm_backward(grad_output, x, None, mean, rstd, **grads)
        else:
            targets = {"grad_gamma": gamma.grad_target(), "grad_beta": beta.grad_target()}
            backend.group_norm_backward(grad_output, x, gamma.array, mean, rstd, **targets, **grads)
            gamma.add_grad(targets["grad_gamma"])
            beta.add_grad(targets["grad_beta"])
        return grads["grad_input"] if needs_input_grad else None


class LocalResponseNorm(Layer):
    """Divide each element by a power of the squares in the channels around it: any shape -> the same.

    ``y[c] = x[c] / (k + alpha / size * sum of x[i]**2)**beta`` over the channels i from ``c - size // 2`` to
    ``c + (size - 1) // 2``, as PyTorch (Krizhevsky et al. 2012, AlexNet). TensorFlow's ``lrn(depth_radius, bias, alpha,
    beta)`` is ``LocalResponseNorm(2 * depth_radius + 1, alpha=alpha * (2 * depth_radius + 1), beta=beta, k=bias)``.

    Parameters
    ----------
    size : int
        Channels of the window, at least 1.
    alpha, beta, k : float
        None negative.

    Examples
    --------
    >>> layer = fc.nn.LocalResponseNorm(3, alpha=3.0, beta=1.0).build((3,), np.float64)
    >>> layer(np.array([[1.0, 2.0, 0.0]])).round(4)
    array([[0.1667, 0.3333, 0.    ]])
    """

    owns_output = True
    owns_grad = True
    setting_names = ("size", "alpha", "beta", "k")

    def __init__(self, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = validate.at_least_one(size, "size")
        self.alpha = validate.number(alpha, "alpha", low=0)
        self.beta = validate.number(beta, "beta", low=0)
        self.k = validate.number(k, "k", low=0)

    def forward(self, x: Array, *, training: bool) -> tuple[Array, Context]:
        x = self.check_input(x)
        y = self.backend.empty(x.shape, x.dtype)
        self.backend.local_response_norm(x, **self._setting, out=y)
        return y, (x if training else None)

    def backward(self, grad_output: Array, context: Context, *, needs_input_grad: bool = True) -> Array | None:
        x = self.check_context(context, "array")
        grad_output = self.check_grad(grad_output, x.shape)
        if not needs_input_grad:
            return None
        grad_input = self.backend.empty(x.shape, x.dtype)
        self.backend.local_response_norm_backward(grad_output, x, **self._setting, out=grad_input)
        return grad_input

    @property
    def _setting(self) -> dict[str, Any]:
        return {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}
