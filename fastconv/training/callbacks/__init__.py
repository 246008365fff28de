"""What can be done while a model is trained: progress, files, logs, an end before the end, anything of one's own."""

from fastconv.training.callbacks.callback import Callback, StepInfo, Training
from fastconv.training.callbacks.checkpoint import ModelCheckpoint
from fastconv.training.callbacks.early_stopping import EarlyStopping
from fastconv.training.callbacks.logs import CSVLogger, JSONLinesLogger
from fastconv.training.callbacks.progress import ProgressDisplay
from fastconv.training.callbacks.services import MLflowLogger, TensorBoardLogger
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
    "TensorBoardLogger",
    "TimeLimit",
    "Training",
]
