"""The losses: the one list that kernels, classes, tables, tests and documents are made from.

Only the formulas are written elsewhere, three times and by hand: in NumPy (fastconv/backends/reference/losses.py), for
the CPU (cpu/loss/) and in CUDA (cuda/loss/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .scalars import Scalar


@dataclass(frozen=True)
class ChosenLoss:
    """A loss with values for its parameters: what an operation is called with, hashable and small."""

    name: str
    values: tuple[float, ...] = ()

    @property
    def function(self) -> LossFunction:
        """The loss, as it is declared."""
        return LOSSES[self.name]


@dataclass(frozen=True)
class LossFunction:
    """What predictions x cost, given targets t: a sum over elements, or over rows of scores with a class y each.

    Attributes
    ----------
    name, layer : str
        Of the loss and of its class in `fastconv.losses`: ``"huber"``, ``"Huber"``. Its kernel is called
        ``huber_elements``, or ``multiclass_hinge_rows``.
    over : "elements" or "rows"
        Elements have a target each, of the type of x; rows have a class number, and (N, K) scores.
    formula, gradient : str
        Of an element, or of a row, which is x; sums run over the other classes j.
    parameters : tuple of Scalar
    channel_weight : str
        What a vector over the last axis is called, "" if it takes none. Classes' weights count rows.
    soft : bool
        Whether rows of targets, (N, K), may stand for class numbers.
    highest : float
        What targets of elements are at most; they are at least 0 then.
    note, source : str
    """

    name: str
    layer: str
    over: Literal["elements", "rows"]
    formula: str
    gradient: str
    parameters: tuple[Scalar, ...] = ()
    channel_weight: str = ""
    soft: bool = False
    highest: float | None = None
    note: str = ""
    source: str = ""

    def __call__(self, *values: float) -> ChosenLoss:
        """Return the loss with these values for its first parameters and the defaults for the others."""
        rest = (parameter.default for parameter in self.parameters[len(values) :])
        return ChosenLoss(self.name, tuple(map(float, (*values, *rest))))


_LOSSES = (
    LossFunction(
        "softmax_cross_entropy",
        "SoftmaxCrossEntropy",
        "rows",
        "-sum over k of c[k] * q[k] * log(p[k]), p = softmax(x), q = (1 - label_smoothing) * t + label_smoothing / K",
        "p * (sum over k of c[k] * q[k]) - c * q",
        parameters=(Scalar("label_smoothing", 0.0, 0, 1),),
        channel_weight="class_weight",
        soft=True,
        note="t is 1 at the class, 0 elsewhere, or a row of targets; an impossible class that is no target costs"
        " nothing",
        source="smoothing: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567",
    ),
    LossFunction(
        "multiclass_hinge",
        "MulticlassHinge",
        "rows",
        "sum over j of max(x[j] - x[y] + margin, 0)",
        "1 at each j with x[j] - x[y] + margin > 0, minus their number at y",
        parameters=(Scalar("margin", 1.0, 0),),
        channel_weight="class_weight",
        source="Weston and Watkins 1999, as in CS231n",
    ),
    LossFunction(
        "squared_hinge",
        "SquaredHinge",
        "rows",
        "sum over j of max(x[j] - x[y] + margin, 0)**2",
        "2 * max(x[j] - x[y] + margin, 0) at each j, minus their sum at y",
        parameters=(Scalar("margin", 1.0, 0),),
        channel_weight="class_weight",
        source="the L2-SVM of CS231n",
    ),
    LossFunction(
        "binary_cross_entropy",
        "BinaryCrossEntropy",
        "elements",
        "-(c * t * log(sigmoid(x)) + (1 - t) * log(1 - sigmoid(x)))",
        "(1 - t) * sigmoid(x) - c * t * (1 - sigmoid(x))",
        channel_weight="pos_weight",
        highest=1.0,
        note="a term whose factor t or 1 - t is 0 costs nothing",
    ),
    LossFunction(
        "mean_squared_error",
        "MeanSquaredError",
        "elements",
        "(x - t)**2",
        "2 * (x - t)",
    ),
    LossFunction(
        "mean_absolute_error",
        "MeanAbsoluteError",
        "elements",
        "abs(x - t)",
        "sign(x - t)",
    ),
    LossFunction(
        "huber",
        "Huber",
        "elements",
        "(x - t)**2 / 2 where abs(x - t) <= delta, else delta * (abs(x - t) - delta / 2)",
        "x - t within +-delta",
        parameters=(Scalar("delta", 1.0, 0, open_low=True),),
        source="Huber 1964, https://doi.org/10.1214/aoms/1177703732, as in PyTorch",
    ),
)

LOSSES = {function.name: function for function in _LOSSES}

NO_CLASS = -(2**40)
"""What kernels get for the class that is ignored where none is."""
