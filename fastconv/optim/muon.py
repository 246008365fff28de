"""Muon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv._dense import prepare
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.kernels.scalars import Scalar
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.nn.core.parameter import Parameter
from fastconv.optim.groups import Group, Trained
from fastconv.optim.habits import ABSENT
from fastconv.optim.regions import trained
from fastconv.optim.ruled import RuledOptimizer, takes
from fastconv.precision import get_precision

_MOMENTUM = UPDATE_RULES["muon_momentum"]
_ADJUSTMENTS = ("original", "match_rms_adamw", "none")
_FAR_BELOW = 2.0**-40  # a power of two, which costs no precision


def _coefficients(values: Any) -> tuple[float, ...]:
    try:
        found = tuple(validate.number(value, "ns_coefficients") for value in values)
    except TypeError:
        found = ()
    if len(found) != 3:
        raise ArgumentError(f"ns_coefficients: got {values!r}; allowed: three numbers")
    return found


def _adjustment(name: str | None) -> str:
    found = "original" if name is None else name
    if found not in _ADJUSTMENTS:
        raise ArgumentError(f"adjust_lr_fn: got {name!r}; allowed: None, {', '.join(_ADJUSTMENTS)}")
    return found


class Muon(RuledOptimizer):
    """Momentum that is made orthogonal, for matrices (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).

    ``m += (1 - momentum) * (grad - m); u = grad + momentum * (m - grad)`` (m itself without `nesterov`);
    ``p -= lr * weight_decay * p + lr * ratio * orthogonal(u)``, where `orthogonal` takes u, divided by
    ``max(norm(u), eps)``, through `ns_steps` steps of Newton and Schulz, ``x = a * x + (b * A + c * A @ A) @ x`` with
    ``A = x @ x.T``: singular values go to about 1. Products are computed in the precision that is set. With `normalize`
    there comes ``p *= sqrt(out) / (norm(p) + 1e-6)`` before.

    There is no L1 penalty here: what it adds to a gradient would be made orthogonal along with it. `Pruning` brings
    weights to zero with any optimizer.

    The weight of a convolution is a matrix of its output channels and the rest. Biases and normalisations need another
    rule, and output layers do better with one::

        matrices = [p for p in model.parameters() if len(p.shape) > 1]
        others = [p for p in model.parameters() if len(p.shape) < 2]
        optimizer = Combined(Muon(matrices, lr=0.02), AdamW(others, lr=1e-3))

    Parameters
    ----------
    parameters : iterable of Parameter, or of dict
        Of two axes or more. Or groups of them with a weight decay, momentum, nesterov or eps of their own.
    weight_decay : float
        Share of the parameter that is taken away in each step, times the rate.
    momentum : float
        At least 0, below 1.
    nesterov : bool
        Whether the momentum looks one step ahead.
    ns_coefficients : (a, b, c)
        Of a step of Newton and Schulz.
    ns_steps : int
        At least 1.
    adjust_lr_fn : str or None
        The ratio for an (out, rest) matrix: "original", the default, ``sqrt(max(1, out / rest))``; "match_rms_adamw"
        ``0.2 * sqrt(max(out, rest))`` (Liu et al. 2025, https://arxiv.org/abs/2502.16982); "none" 1.
    normalize : bool
        Whether each step begins by bringing the norm of every matrix to the square root of its outputs, as the mean
        over filters is 1 then: for weights before a normalisation, where their scale has no effect but on the size of
        steps (Jordan 2024, https://github.com/KellerJordan/cifar10-airbench).

    Examples
    --------
    >>> layer = fc.nn.Dense(2, bias=False).build((2,), np.float64)
    >>> layer.weight.data = np.zeros((2, 2))
    >>> layer.weight.add_grad(np.array([[100.0, 0.0], [0.0, 1.0]]))
    >>> fc.optim.Muon(layer.parameters(), lr=1.0, weight_decay=0.0).step()
    >>> layer.weight.data.round(1)
    array([[-0.7,  0. ],
           [ 0. , -0.7]])
    """

    rule = UPDATE_RULES["muon"]
    state_names = _MOMENTUM.state
    absent = MappingProxyType(
        {
            **ABSENT,
            "l1": "what a penalty adds to a gradient would be made orthogonal along with it; Pruning(Muon(...)) brings"
            " weights to zero, and other parameters may have a rule with it: Combined(Muon(...), Adam(..., l1=...))",
        }
    )
    adjusted = MappingProxyType(
        {
            "ns_coefficients": _coefficients,
            "ns_steps": partial(validate.at_least, minimum=1, name="ns_steps", maximum=99),
            "adjust_lr_fn": _adjustment,
            "normalize": partial(validate.truth, name="normalize"),
        }
    )
    scalars = (*rule.scalars, *_MOMENTUM.settings, Scalar("eps", 1e-7, 0, open_low=True))

    @takes(scalars)
    def __init__(
        self,
        parameters: Trained,
        lr: float = 1e-3,
        *,
        ns_coefficients: Sequence[float] = (3.4445, -4.7750, 2.0315),
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        normalize: bool = False,
        **settings: float | bool,
    ) -> None:
        check = self.adjusted
        self.ns_coefficients = check["ns_coefficients"](ns_coefficients)
        self.ns_steps, self.normalize = check["ns_steps"](ns_steps), check["normalize"](normalize)
        self.adjust_lr_fn = check["adjust_lr_fn"](adjust_lr_fn)
        super().__init__(parameters, lr, **settings)
        for parameter in self.parameters:
            if len(parameter.shape) < 2:
                raise ArgumentError(
                    f"parameters: got {parameter.name} of shape {parameter.shape}; allowed: matrices and weights of"
                    " convolutions, with another optimizer for the rest: Combined(Muon(matrices), AdamW(others))"
                )

    def settings(self) -> dict[str, Any] | None:
        more = {"ns_coefficients": list(self.ns_coefficients), "ns_steps": self.ns_steps}
        more |= {"adjust_lr_fn": self.adjust_lr_fn, "normalize": self.normalize}
        return {**(super().settings() or {}), **more}

    def _state_of(self, group: Group) -> tuple[str, ...]:
        return _MOMENTUM.state

    def _update_group(self, number: int) -> None:
        """Move the momentum in one launch, make it orthogonal, and move the parameters in another.

        Beside products, two launches a group are the fewest: the products read all of a matrix that the first one
        writes, the gradient being complete, and what the second one reads is the last product. It must be done before
        the next forward, so it cannot wait for the first one of the next step either.
        """
        group, backend = self.groups[number], self.backend
        chosen = self.settings_in(group)
        for region, state, pieces in self._parts(number):
            numbers = {"lr": self._rate_of[number], "step": self._step, "pieces": pieces}
            update = backend.empty(region.data.shape, region.data.dtype)
            moved = _MOMENTUM(chosen["momentum"], chosen["nesterov"])
            backend.update(moved, update, region.grad, state, **numbers)
            for parameter in trained(group.parameters):
                if parameter.arena is region.arena:
                    matrix = region.view(update, parameter).reshape(-1, parameter.shape[-1])
                    self._orthogonalise(matrix, chosen["eps"], self._ratio(parameter))
                    if self.normalize:
                        self._normalise(parameter.array)
            backend.update(self.rule(chosen["weight_decay"]), region.data, update, {}, **numbers)

    def _normalise(self, weight: Array) -> None:
        """Bring the norm to the square root of the outputs: far below it, which is what limits do, and up again."""
        backend, squares = self.backend, self.backend.empty((1,), np.float64)
        backend.sum_squares(weight, out=squares, workspace=backend.pool)
        backend.clip_norm(weight, squares, limit=math.sqrt(weight.shape[-1]) * _FAR_BELOW, out=weight)
        backend.scale(weight, factor=1 / _FAR_BELOW, out=weight)

    def _ratio(self, parameter: Parameter) -> float:
        out = parameter.shape[-1]
        rest = parameter.size // out
        if self.adjust_lr_fn == "original":
            return math.sqrt(max(1, out / rest))
        return 0.2 * math.sqrt(max(out, rest)) if self.adjust_lr_fn == "match_rms_adamw" else 1.0

    def _orthogonalise(self, x: Array, eps: float, ratio: float) -> None:
        """Put ``ratio * orthogonal(x)`` in place of x, by the Gram matrix of its smaller side."""
        backend, side = self.backend, min(x.shape)
        gram, square, polynomial = (backend.empty((side, side), x.dtype) for _ in range(3))
        norm, current, other = backend.empty((1,), x.dtype), x, backend.empty(x.shape, x.dtype)
        for step in range(self.ns_steps):
            left = self.ns_steps - 1 - step
            self._gram(current, square if step == 0 else gram)
            if step == 0:
                backend.normalise_gram(square, eps=eps, out=gram, norm=norm)
            self._transposed_product(gram, gram, square)
            a, b, c = ((1.0 if left else ratio) * value for value in self.ns_coefficients)
            backend.gram_polynomial(gram, square, None if step else norm, coefficients=(a, b, c), out=polynomial)
            target = other if left % 2 else x  # so that the last one is x, without a copy
            target = backend.empty(x.shape, x.dtype) if target is current else target
            self._times(current, polynomial, target)
            current = target
        if current is not x:
            backend.copy(current, out=x)

    def _gram(self, x: Array, out: Array) -> None:
        """Multiply x and itself, the longer side being summed over."""
        if x.shape[0] >= x.shape[1]:
            self._transposed_product(x, x, out)
            return
        weight = prepare(self.backend, x, "backward_input", x.shape[0])
        self.backend.dense_backward_input(x, weight, out=out, workspace=self.backend.pool)

    def _times(self, x: Array, symmetric: Array, out: Array) -> None:
        """Multiply x by a symmetric matrix on its smaller side."""
        if x.shape[0] < x.shape[1]:
            self._transposed_product(symmetric, x, out)
            return
        weight = prepare(self.backend, symmetric, "forward", x.shape[0])
        self.backend.dense(x, weight, None, out=out, workspace=self.backend.pool)

    def _transposed_product(self, a: Array, b: Array, out: Array) -> None:
        """Compute ``a.T @ b``."""
        backend = self.backend
        backend.dense_backward_weight(b, a, precision=get_precision(), out=out, workspace=backend.pool)
