"""Optimizers, what is wrapped around them, groups of parameters, and learning-rate schedules."""

from typing import TYPE_CHECKING

from fastconv._attributes import tells_names
from fastconv.optim import schedules
from fastconv.optim.adadelta import Adadelta
from fastconv.optim.adagrad import Adagrad
from fastconv.optim.adam import Adam
from fastconv.optim.adamw import AdamW
from fastconv.optim.ema import EMA
from fastconv.optim.groups import Group, layer_groups, no_decay_groups, split_groups
from fastconv.optim.lookahead import Lookahead
from fastconv.optim.muon import Muon
from fastconv.optim.nadam import NAdam
from fastconv.optim.nested import Combined
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.pruning import Pruning
from fastconv.optim.rmsprop import RMSProp
from fastconv.optim.sgd import SGD

__all__ = [
    "EMA",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Combined",
    "Group",
    "Lookahead",
    "Muon",
    "NAdam",
    "Optimizer",
    "Pruning",
    "RMSProp",
    "layer_groups",
    "no_decay_groups",
    "schedules",
    "split_groups",
]

if not TYPE_CHECKING:  # else every name would pass for one that is there
    __getattr__ = tells_names(__name__)
