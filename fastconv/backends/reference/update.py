"""Reference of the update rules: NumPy's formulas, under the names of `fastconv.kernels.update_rules`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.kernels.update_rules import Update

State = Mapping[str, np.ndarray]


def _penalised(p: np.ndarray, grad: np.ndarray, decay: float, l1: float) -> np.ndarray:
    """Return the gradient of the loss with its L2 and L1 penalties."""
    g: np.ndarray = grad + decay * p
    return g + l1 * np.sign(p) if l1 else g


def _sgd(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, *settings: float) -> None:
    momentum, nesterov, decay, dampening, l1 = settings
    g = _penalised(p, grad, decay, l1)
    if not momentum:
        p -= lr * g
        return
    velocity = state["velocity"]
    velocity[...] = momentum * velocity + (g if t == 1 else (1 - dampening) * g)
    p -= lr * (g + momentum * velocity if nesterov else velocity)


def _adagrad(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, *settings: float) -> None:
    lr_decay, eps, decay, l1 = settings
    g, total = _penalised(p, grad, decay, l1), state["sum"]
    total += g * g
    p -= lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(total) + eps)


def _adadelta(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, *settings: float) -> None:
    rho, eps, decay, l1 = settings
    g, square, changes = _penalised(p, grad, decay, l1), state["square"], state["changes"]
    square[...] = rho * square + (1 - rho) * g * g
    change = np.sqrt(changes + eps) / np.sqrt(square + eps) * g
    changes[...] = rho * changes + (1 - rho) * change * change
    p -= lr * change


def _rmsprop(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, *settings: float) -> None:
    alpha, eps, momentum, centered, decay, l1 = settings
    g, square = _penalised(p, grad, decay, l1), state["square"]
    square[...] = alpha * square + (1 - alpha) * g * g
    variance = square
    if centered:
        mean = state["mean"]
        mean[...] = alpha * mean + (1 - alpha) * g
        variance = np.maximum(square - mean * mean, 0)
    change = g / (np.sqrt(variance) + eps)
    if momentum:
        velocity = state["velocity"]
        velocity[...] = momentum * velocity + change
        change = velocity
    p -= lr * change


def _moments(g: np.ndarray, state: State, beta1: float, beta2: float) -> tuple[np.ndarray, np.ndarray]:
    m, v = state["m"], state["v"]
    m[...] = beta1 * m + (1 - beta1) * g
    v[...] = beta2 * v + (1 - beta2) * g * g
    return m, v


def _adam(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, *settings: float) -> None:
    beta1, beta2, eps, decay, amsgrad, l1 = settings
    m, v = _moments(_penalised(p, grad, decay, l1), state, beta1, beta2)
    if amsgrad:
        highest = state["highest"]
        highest[...] = np.maximum(highest, v)
        v = highest
    p -= lr * (m / (1 - beta1**t)) / (np.sqrt(v) / math.sqrt(1 - beta2**t) + eps)


def _adamw(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, *settings: float) -> None:
    beta1, beta2, eps, decay, amsgrad = settings
    p -= lr * decay * p
    _adam(p, grad, state, lr, t, beta1, beta2, eps, 0.0, amsgrad, 0.0)


def _nadam(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, *settings: float) -> None:
    beta1, beta2, eps, decay, momentum_decay, decoupled, l1 = settings
    g = _penalised(p, grad, 0.0 if decoupled else decay, l1)
    if decoupled:
        p -= lr * decay * p
    m, v = _moments(g, state, beta1, beta2)
    mu = beta1 * (1 - 0.5 * 0.96 ** (np.arange(1.0, t + 2) * momentum_decay))
    product = np.prod(mu[:-1])
    by_gradient, by_mean = (1 - mu[-2]) / (1 - product), mu[-1] / (1 - product * mu[-1])
    p -= (lr * (by_gradient * g + by_mean * m) / (np.sqrt(v) / math.sqrt(1 - beta2**t) + eps)).astype(p.dtype)


def _muon(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, decay: float) -> None:
    p -= lr * decay * p + lr * grad


def _muon_momentum(
    p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, momentum: float, nesterov: bool
) -> None:
    average = state["momentum"]
    average += (1 - momentum) * (grad - average)
    p[...] = grad + momentum * (average - grad) if nesterov else average


def _lookahead(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, k: float, alpha: float) -> None:
    if t % k == 0:
        slow = state["slow"]
        slow += alpha * (p - slow)
        p[...] = slow


def _ema(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int, decay: float, warmup: bool) -> None:
    p += (1 - (min(decay, (1 + t) / (10 + t)) if warmup else decay)) * (grad - p)


def _mask(p: np.ndarray, grad: np.ndarray, state: State, lr: float, t: int) -> None:
    p[~(grad > 0)] = 0


# Called with the parameter, its gradient, the state, the learning rate, the number of the step, and the settings.
_FORMULAS: dict[str, Callable[..., None]] = {
    "sgd": _sgd,
    "adagrad": _adagrad,
    "adadelta": _adadelta,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adamw,
    "nadam": _nadam,
    "muon": _muon,
    "muon_momentum": _muon_momentum,
    "lookahead": _lookahead,
    "ema": _ema,
    "mask": _mask,
}


class NumpyUpdate(Backend):
    """Update rules, and what Muon needs beside products."""

    @np.errstate(all="ignore")
    def update(
        self,
        rule: Update,
        parameter: Array,
        grad: Array,
        state: Mapping[str, Array],
        *,
        lr: Array,
        step: Array,
        pieces: Array | None = None,
    ) -> None:
        for begin, end in [(0, parameter.size)] if pieces is None else pieces.tolist():
            states = {name: array[begin:end] for name, array in state.items()}
            numbers = float(lr[0]), int(step[0]), *rule.values
            _FORMULAS[rule.name](parameter[begin:end], grad[begin:end], states, *numbers)

    def normalise_gram(self, gram: Array, *, eps: float, out: Array, norm: Array) -> None:
        norm[0] = max(np.sqrt(np.trace(gram)), eps)
        out[...] = gram / norm[0] ** 2

    def gram_polynomial(
        self, gram: Array, square: Array, norm: Array | None, *, coefficients: tuple[float, float, float], out: Array
    ) -> None:
        a, b, c = coefficients
        out[...] = (a * np.eye(len(gram)) + b * gram + c * square) / (1 if norm is None else norm[0])
