"""Losses over rows of scores: how the scores of the classes stand to the class that is right."""

from __future__ import annotations

import math
from typing import Any

from fastconv import _validate as validate
from fastconv.backends import get_backend
from fastconv.backends.contract.types import Array, DType, Shape
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.kernels.losses import LOSSES
from fastconv.losses.listed import ListedLoss, LossWeights


class RowLoss(ListedLoss):
    """A loss of scores, (N, K), and class numbers, (N,), each in [0, K) or the `ignore_index`."""

    axes = "(N, K)"
    ignore_index: int | None

    def __init__(self, *, class_weight: LossWeights, ignore_index: int | None, reduction: str, **values: float) -> None:
        super().__init__(reduction=reduction, class_weight=class_weight, **values)
        self.ignore_index = ignore_index

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "ignore_index" and value is not None:
            value = validate.at_least(value, -(2**31), "ignore_index", 2**31 - 1)  # labels are int32 to kernels
        super().__setattr__(name, value)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "ignore_index": self.ignore_index}

    def _ignored(self) -> int | None:
        return self.ignore_index

    @property
    def weighs(self) -> bool:
        return self.ignore_index is not None or getattr(self, "class_weight", None) is not None

    def checked_targets(self, targets: Array, shape: Shape, dtype: DType) -> Array:
        backend = get_backend()
        validate.owned(backend, targets, "labels")
        if self.function.soft and targets.dtype.kind == "f" and targets.ndim == 2:
            targets = validate.floating(backend, targets, "labels")
            validate.has_dtype(targets, "labels", dtype, f"the dtype of {self.scores}")
            validate.has_shape(targets, "labels", shape, f"that of {self.scores}, or (N,) integers")
            if backend.on_host:
                validate.within(targets, "labels", 0, math.inf)
            return targets
        if targets.dtype.kind == "f" or (targets.ndim == 2 and targets.shape == shape):
            self._refuse_rows(targets)
        if not backend.on_host:
            return validate.labels_unseen(backend, targets, "labels", batch=shape[0])
        ignored = self.ignore_index
        labels = validate.labels(backend, targets, "labels", batch=shape[0], classes=shape[1], ignored=ignored)
        if shape[0] and self.reduction == "mean" and self.weighs:
            counted = labels if ignored is None else labels[labels != ignored]
            if not counted.size:
                raise ArgumentError(
                    f"labels: got the ignore_index, {ignored}, in all {shape[0]} rows; allowed: at least one class"
                    " number, or reduction='sum'"
                )
            weights = self._channel_weight(backend, shape[1], dtype)
            if weights is not None and not weights[counted].any():
                raise ArgumentError(
                    f"labels: got classes whose class_weight is 0 in all {shape[0]} rows; allowed: at least one other,"
                    " or reduction='sum'"
                )
        return labels

    def _refuse_rows(self, targets: Array) -> None:
        """Say which numbers of classes, or rows of shares, it takes instead of these."""
        soft = [function.layer for function in LOSSES.values() if function.soft]
        takes = "rows of shares too, of floats" if self.function.soft else f"rows of shares: {', '.join(soft)}"
        message = (
            f"labels: got {targets.dtype} {targets.shape}; allowed: class numbers, (N,) of an integer type ({takes})"
        )
        raise DTypeError(message) if targets.dtype.kind == "f" else ShapeError(message)


class SoftmaxCrossEntropy(RowLoss):
    """Cross-entropy of the softmax: ``-sum over k of target[k] * log(softmax(logits)[k])`` of each row.

    Targets are class numbers, (N,), for which ``target = (1 - label_smoothing) * onehot + label_smoothing / K``
    (https://arxiv.org/abs/1512.00567); or rows of shares of the classes, (N, K), of the type of the logits, as mixup
    and distillation make them, smoothed alike.

    Parameters
    ----------
    label_smoothing : float
        At least 0 and below 1.
    class_weight : sequence of float, or None
        A factor of each class's share. The mean divides by the sum of the weights of the rows' classes, as in PyTorch;
        of targets that are rows, by their number.
    ignore_index : int or None
        Rows with this label are left out.
    reduction : "mean" or "sum"
        Over the rows.

    Examples
    --------
    >>> loss = fc.losses.SoftmaxCrossEntropy()
    >>> value, grad = loss(np.zeros((1, 2)), np.array([1]))
    >>> float(value.round(4)), grad
    (0.6931, array([[ 0.5, -0.5]]))
    >>> fc.losses.SoftmaxCrossEntropy(0.1, class_weight=(1.0, 3.0))
    SoftmaxCrossEntropy(label_smoothing=0.1, class_weight=(1.0, 3.0))
    """

    label_smoothing: float
    class_weight: tuple[float, ...] | None
    function = LOSSES["softmax_cross_entropy"]
    scores = "logits"

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        class_weight: LossWeights = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(
            label_smoothing=label_smoothing, class_weight=class_weight, ignore_index=ignore_index, reduction=reduction
        )


class MulticlassHinge(RowLoss):
    """The multiclass SVM: ``sum over j but y of max(scores[j] - scores[y] + margin, 0)`` of each row, whose class is y.

    (Weston and Watkins 1999, as in CS231n. PyTorch's MultiMarginLoss divides by the number of classes too.)

    Parameters
    ----------
    margin : float
        At least 0.
    class_weight, ignore_index, reduction
        As of `SoftmaxCrossEntropy`.

    Examples
    --------
    >>> value, grad = fc.losses.MulticlassHinge()(np.array([[2.0, 1.5, 0.0]]), np.array([0]))
    >>> float(value), grad
    (0.5, array([[-1.,  1.,  0.]]))
    """

    margin: float
    class_weight: tuple[float, ...] | None
    function = LOSSES["multiclass_hinge"]
    scores = "scores"

    def __init__(
        self,
        margin: float = 1.0,
        *,
        class_weight: LossWeights = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin=margin, class_weight=class_weight, ignore_index=ignore_index, reduction=reduction)


class SquaredHinge(MulticlassHinge):
    """``sum over j but y of max(scores[j] - scores[y] + margin, 0)**2`` of each row, whose class is y: the L2-SVM.

    It punishes what lies far off more than `MulticlassHinge`, whose arguments it has, and is smooth. (Tang 2013,
    https://arxiv.org/abs/1306.0239.)

    Parameters
    ----------
    margin : float
        At least 0.
    class_weight, ignore_index, reduction :
        As of `SoftmaxCrossEntropy`.

    Examples
    --------
    >>> value, grad = fc.losses.SquaredHinge()(np.array([[2.0, 1.5, 0.0]]), np.array([0]))
    >>> float(value), grad
    (0.25, array([[-1.,  1.,  0.]]))
    """

    function = LOSSES["squared_hinge"]
