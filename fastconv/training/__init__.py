"""The training loop, what is recorded, and what can be done meanwhile."""

from fastconv.training.callbacks import Callback, ModelCheckpoint, ProgressDisplay, StepInfo, Training
from fastconv.training.clipping import ClipGlobalNorm, ClipNorm, ClipValue
from fastconv.training.history import History
from fastconv.training.trainer import Trainer

__all__ = [
    "Callback",
    "ClipGlobalNorm",
    "ClipNorm",
    "ClipValue",
    "History",
    "ModelCheckpoint",
    "ProgressDisplay",
    "StepInfo",
    "Trainer",
    "Training",
]
