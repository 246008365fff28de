"""The training loop, what is recorded, and what can be done meanwhile."""

from fastconv.training.callbacks import Callback, ModelCheckpoint, ProgressDisplay, StepInfo, Training
from fastconv.training.history import History
from fastconv.training.range_test import RangeTest, find_learning_rate
from fastconv.training.trainer import Trainer

__all__ = [
    "Callback",
    "History",
    "ModelCheckpoint",
    "ProgressDisplay",
    "RangeTest",
    "StepInfo",
    "Trainer",
    "Training",
    "find_learning_rate",
]
