"""The training loop, what is recorded, and what can be done meanwhile.

`fastconv.training.diagnostics` looks into a model and its steps.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastconv.training import callbacks
from fastconv.training.callbacks import Callback, ModelCheckpoint, ProgressDisplay, StepInfo, Training
from fastconv.training.clipping import ClipGlobalNorm, ClipNorm, ClipValue
from fastconv.training.history import History
from fastconv.training.range_test import RangeTest, find_learning_rate
from fastconv.training.trainer import Trainer

if TYPE_CHECKING:
    from fastconv.training import diagnostics as diagnostics
    from fastconv.training.callbacks import CSVLogger, EarlyStopping, JSONLinesLogger, MLflowLogger, TensorBoardLogger
    from fastconv.training.callbacks import TimeLimit as TimeLimit

__all__ = [
    "CSVLogger",
    "Callback",
    "ClipGlobalNorm",
    "ClipNorm",
    "ClipValue",
    "EarlyStopping",
    "History",
    "JSONLinesLogger",
    "MLflowLogger",
    "ModelCheckpoint",
    "ProgressDisplay",
    "RangeTest",
    "StepInfo",
    "TensorBoardLogger",
    "TimeLimit",
    "Trainer",
    "Training",
    "diagnostics",
    "find_learning_rate",
]


def __getattr__(name: str) -> Any:
    """Return what importing fastconv does not wait for."""
    if name == "diagnostics":
        return importlib.import_module(f"{__name__}.diagnostics")
    if name in callbacks.__all__:
        return getattr(callbacks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
