"""The update rules of optimizers: the one list that kernels, optimizers, tables and tests are made from.

The formulas are written three times, by hand: in NumPy (fastconv/backends/reference/update.py), for the CPU
(cpu/elementwise/optimizer.py) and in CUDA (cuda/elementwise/optimizer.cu).
"""

from __future__ import annotations

from dataclasses import dataclass

from .scalars import Scalar


@dataclass(frozen=True)
class Update:
    """An update rule with values for its settings: what an operation is called with, hashable and small."""

    name: str
    values: tuple[float | bool, ...]

    @property
    def rule(self) -> UpdateRule:
        """The rule, as it is declared."""
        return UPDATE_RULES[self.name]


@dataclass(frozen=True)
class UpdateRule:
    """How parameters p change at step t, counted from 1, by their gradients g and what is kept of earlier ones.

    Attributes
    ----------
    name : str
        Of the rule; its kernel is called ``sgd_update``.
    state : tuple of str
        The arrays that are kept, each as large as the parameters; zeros at first.
    settings : tuple of Scalar
        All that is set but the learning rate `lr`.
    formula, source : str
    """

    name: str
    state: tuple[str, ...]
    settings: tuple[Scalar, ...]
    formula: str
    source: str = ""

    def __call__(self, *values: float | bool) -> Update:
        """Return the rule with these values for its first settings and the defaults for the others."""
        rest = (setting.default for setting in self.settings[len(values) :])
        return Update(self.name, (*values, *rest))


_RULES = (
    UpdateRule(
        "sgd",
        ("velocity",),
        (Scalar("momentum", 0.0, 0, 1), Scalar("nesterov", False), Scalar("weight_decay", 0.0, 0)),
        "g += weight_decay * p; velocity = momentum * velocity + g;"
        " p -= lr * (g + momentum * velocity if nesterov else velocity), or lr * g without momentum, and no state",
        source="Sutskever et al. 2013, as in PyTorch",
    ),
    UpdateRule(
        "adam",
        ("m", "v"),
        (
            *(Scalar("beta1", 0.9, 0, 1), Scalar("beta2", 0.999, 0, 1), Scalar("eps", 1e-8, 0, open_low=True)),
            Scalar("weight_decay", 0.0, 0),
        ),
        "g += weight_decay * p; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g**2;"
        " p -= lr * (m / (1 - beta1**t)) / (sqrt(v / (1 - beta2**t)) + eps)",
        source="Kingma and Ba 2014, https://arxiv.org/abs/1412.6980",
    ),
)

UPDATE_RULES = {rule.name: rule for rule in _RULES}
