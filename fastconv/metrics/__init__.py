"""Metrics: what a model is judged by besides its loss, summed on the device batch by batch.

Those of classes take scores, (N, K), and class numbers, (N,). The class predicted is that of the largest score; rows
whose label is not in [0, K), such as the `ignore_index` of a loss, are left out. The others (errors, `R2Score`) take
predictions and targets of one shape and type, (N, ...).
"""

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
