"""Metrics: what a model is judged by besides its loss, summed on the device batch by batch."""

from typing import TYPE_CHECKING

from fastconv._attributes import tells_names
from fastconv.metrics.classes import F1, Accuracy, ConfusionMatrix, Precision, Recall, TopKAccuracy
from fastconv.metrics.errors import MeanAbsoluteError, MeanBiasError, R2Score
from fastconv.metrics.metric import Metric, Sums

__all__ = [
    "F1",
    "Accuracy",
    "ConfusionMatrix",
    "MeanAbsoluteError",
    "MeanBiasError",
    "Metric",
    "Precision",
    "R2Score",
    "Recall",
    "Sums",
    "TopKAccuracy",
]

if not TYPE_CHECKING:  # else every name would pass for one that is there
    __getattr__ = tells_names(__name__)
