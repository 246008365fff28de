"""The training loop, what is recorded, and what can be done meanwhile.

`fastconv.training.diagnostics` looks into a model and its steps.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastconv._attributes import unknown_name

if TYPE_CHECKING:
    from fastconv.training import diagnostics as diagnostics
    from fastconv.training.callbacks import Callback as Callback
    from fastconv.training.callbacks import (
        CSVLogger,
        EarlyStopping,
        JSONLinesLogger,
        MLflowLogger,
        ModelCheckpoint,
        ProgressDisplay,
        StepInfo,
        StopOnSignal,
        TensorBoardLogger,
        TimeLimit,
        Training,
    )
    from fastconv.training.clipping import ClipGlobalNorm, ClipNorm, ClipValue
    from fastconv.training.history import History
    from fastconv.training.range_test import RangeTest, find_learning_rate
    from fastconv.training.trainer import Trainer

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
    "StopOnSignal",
    "TensorBoardLogger",
    "TimeLimit",
    "Trainer",
    "Training",
    "diagnostics",
    "find_learning_rate",
]


_HOMES = {
    "ClipGlobalNorm": "clipping",
    "ClipNorm": "clipping",
    "ClipValue": "clipping",
    "History": "history",
    "RangeTest": "range_test",
    "Trainer": "trainer",
    "find_learning_rate": "range_test",
}


def __getattr__(name: str) -> Any:
    """Load what a name stands for when it is first asked for; what is not in _HOMES is a callback."""
    if name == "diagnostics":
        return importlib.import_module(f"{__name__}.diagnostics")
    if name in __all__:
        value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'callbacks')}"), name)
        return value
    raise unknown_name(__name__, name)
