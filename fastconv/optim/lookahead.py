"""Lookahead."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim.nested import Nested
from fastconv.optim.optimizer import Optimizer

_RULE = UPDATE_RULES["lookahead"]


def _alpha(value: float) -> float:
    alpha = validate.number(value, "alpha", low=0, open_low=True)
    if alpha > 1:
        raise ArgumentError(f"alpha: got {value!r}; allowed: a number above 0, at most 1")
    return alpha


class Lookahead(Nested):
    """Goes back part of the way after every k steps of another optimizer (Zhang et al. 2019, arXiv:1907.08610).

    After each step whose number k divides, ``slow += alpha * (p - slow); p = slow``; `slow` are at first the parameters
    as they are when this is made. ``Lookahead(SGD(model.parameters(), 0.1, 0.9))``.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rate and groups are its own.
    k : int
        Every how many steps, at least 1.
    alpha : float
        Above 0, at most 1.

    Examples
    --------
    >>> layer = fc.nn.Dense(1, bias=False).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> optimizer = fc.optim.Lookahead(fc.optim.SGD(layer.parameters(), lr=1.0), k=1, alpha=0.5)
    >>> layer.weight.add_grad(np.ones((1, 1)))
    >>> optimizer.step()
    >>> layer.weight.data
    array([[0.5]])
    """

    k: int
    alpha: float
    state_names = ("slow",)
    adjusted = MappingProxyType({"k": partial(validate.at_least_one, name="k"), "alpha": _alpha})

    def __init__(self, optimizer: Optimizer, *, k: int = 5, alpha: float = 0.5) -> None:
        self.k, self.alpha = self.adjusted["k"](k), self.adjusted["alpha"](alpha)
        super().__init__((optimizer,))

    def own_settings(self) -> dict[str, float | bool]:
        return {"k": self.k, "alpha": self.alpha}

    def after(self) -> None:
        """Go back part of the way, where k divides the number of the step."""
        rule, rate, step = _RULE(float(self.k), self.alpha), self.optimizers[0].rate_array, self._step
        for region, state, pieces in self._parts(0):
            self.backend.update(rule, region.data, region.grad, state, lr=rate, step=step, pieces=pieces)
