"""Losses: called with predictions and targets, they return a number and its gradient.

Predictions are float32 or float64: logits or scores, (N, K), of losses of classes, which take class numbers, (N,), of
an integer type (`SoftmaxCrossEntropy` rows of shares too); (N, ...) of the others, whose targets have their shape and
type. The number is a () array, the gradient has the shape and type of the predictions. What does not fit is refused by
`ShapeError`, `DTypeError` or `ArgumentError`.

Those of fastconv are the list `fastconv.kernels.losses.LOSSES`, computed in one pass with their gradients.
"""

from typing import TYPE_CHECKING

from fastconv._attributes import tells_names
from fastconv.losses.elements import BinaryCrossEntropy, Huber, MeanAbsoluteError, MeanSquaredError
from fastconv.losses.listed import ListedLoss
from fastconv.losses.loss import DeclaredLoss, Loss, loss_and_grad
from fastconv.losses.rows import MulticlassHinge, SoftmaxCrossEntropy, SquaredHinge

_CLASSES: tuple[type[ListedLoss], ...] = (
    SoftmaxCrossEntropy,
    MulticlassHinge,
    SquaredHinge,
    BinaryCrossEntropy,
    MeanSquaredError,
    MeanAbsoluteError,
    Huber,
)
LOSSES = {cls.function.name: cls for cls in _CLASSES}
"""The class of each loss of the list."""

__all__ = [
    "BinaryCrossEntropy",
    "DeclaredLoss",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MulticlassHinge",
    "SoftmaxCrossEntropy",
    "SquaredHinge",
    "loss_and_grad",
]

if not TYPE_CHECKING:  # else every name would pass for one that is there
    __getattr__ = tells_names(__name__)
