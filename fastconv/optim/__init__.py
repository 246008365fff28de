"""Optimizers and learning-rate schedules."""

from fastconv.optim import schedules
from fastconv.optim.adam import Adam
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.sgd import SGD

_CLASSES: tuple[type[Optimizer], ...] = (
    SGD,
    Adam,
)
OPTIMIZERS = {cls.rule.name: cls for cls in _CLASSES}
"""The class of each update rule, by the name under which the command line knows it."""

__all__ = [
    "SGD",
    "Adam",
    "Optimizer",
    "schedules",
]
