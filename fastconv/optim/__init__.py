"""Optimizers and learning-rate schedules."""

from fastconv.optim import schedules
from fastconv.optim.adam import Adam
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer", "schedules"]
