"""The training loop, what is recorded, and what can be done meanwhile.

`fastconv.training.diagnostics` looks into a model and its steps.
"""

from fastconv.training.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    JSONLinesLogger,
    MLflowLogger,
    ModelCheckpoint,
    ProgressDisplay,
    StepInfo,
    TensorBoardLogger,
    TimeLimit,
    Training,
)
from fastconv.training.history import History
from fastconv.training.trainer import Trainer

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "History",
    "JSONLinesLogger",
    "MLflowLogger",
    "ModelCheckpoint",
    "ProgressDisplay",
    "StepInfo",
    "TensorBoardLogger",
    "TimeLimit",
    "Trainer",
    "Training",
]
