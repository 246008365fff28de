"""What can be done while a model is trained: progress, files, logs, an end before the end, anything of one's own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastconv._attributes import unknown_name
from fastconv.training.callbacks.callback import Callback, StepInfo, Training
from fastconv.training.callbacks.checkpoint import ModelCheckpoint
from fastconv.training.callbacks.progress import ProgressDisplay

if TYPE_CHECKING:
    from fastconv.training.callbacks.early_stopping import EarlyStopping
    from fastconv.training.callbacks.logs import CSVLogger, JSONLinesLogger
    from fastconv.training.callbacks.services import MLflowLogger, TensorBoardLogger
    from fastconv.training.callbacks.stop_on_signal import StopOnSignal
    from fastconv.training.callbacks.time_limit import TimeLimit

__all__ = [
    "CSVLogger",
    "Callback",
    "EarlyStopping",
    "JSONLinesLogger",
    "MLflowLogger",
    "ModelCheckpoint",
    "ProgressDisplay",
    "StepInfo",
    "StopOnSignal",
    "TensorBoardLogger",
    "TimeLimit",
    "Training",
]
# Files that are read when their names are first asked for, so that importing fastconv does not wait for them.
_LATER = {
    "CSVLogger": "logs",
    "EarlyStopping": "early_stopping",
    "JSONLinesLogger": "logs",
    "MLflowLogger": "services",
    "StopOnSignal": "stop_on_signal",
    "TensorBoardLogger": "services",
    "TimeLimit": "time_limit",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise unknown_name(__name__, name)
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
