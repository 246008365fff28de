# ruff: noqa: D102 - the contract documents each operation
"""Reference of the update rules: NumPy's formulas, under the names of `fastconv.kernels.update_rules`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.kernels.update_rules import Update

State = Mapping[str, np.ndarray]


def _sgd(
    p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, momentum: float, nesterov: bool, decay: float
) -> None:
    g = grad + decay * p
    if not momentum:
        p -= lr * g
        return
    velocity = state["velocity"]
    velocity[...] = momentum * velocity + g
    p -= lr * (g + momentum * velocity if nesterov else velocity)


def _adam(
    p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, beta1: float, beta2: float, *rest: float
) -> None:
    eps, decay = rest
    m, v, g = state["m"], state["v"], grad + decay * p
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * g * g
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    p -= lr * m_hat / (np.sqrt(v_hat) + eps)


# Called with the parameter, its gradient, the state, the learning rate, the number of the step, and the settings.
_FORMULAS: dict[str, Callable[..., None]] = {
    "sgd": _sgd,
    "adam": _adam,
}


class NumpyUpdate(Backend):
    """Update rules."""

    @np.errstate(all="ignore")
    def update(
        self, rule: Update, parameter: Array, grad: Array, state: Mapping[str, Array], *, lr: Array, step: Array
    ) -> None:
        _FORMULAS[rule.name](parameter, grad, state, float(lr[0]), int(step[0]), *rule.values)
