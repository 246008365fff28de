"""Losses with their gradients, and what metrics are made of. The rules of operations.py hold."""

from __future__ import annotations

import abc

from fastconv.backends.contract.types import Array, Workspace
from fastconv.kernels.losses import ChosenLoss


class Losses(abc.ABC):
    """The losses of `fastconv.kernels.losses`, which has their formulas, and the sums of metrics."""

    @abc.abstractmethod
    def loss_and_grad(
        self,
        chosen: ChosenLoss,
        predictions: Array,
        targets: Array,
        *,
        channel_weight: Array | None,
        sample_weight: Array | None,
        ignore_index: int | None,
        mean: bool,
        divisor: Array | None = None,
        loss: Array,
        grad: Array,
        workspace: Workspace,
    ) -> None:
        """Compute a loss over a batch, and its gradient with respect to the predictions.

        ``loss = sum over n of w[n] * cost[n] / D``, where the cost of a row is by the loss's formula. D is 1, or for
        the mean the sum of w[n], times c[y[n]] where classes have weights, times the elements of a row where each has a
        target: a row of weight 2 counts as two. What has the weight 0 is left out, whatever its values; where nothing
        is left, or the batch is empty, loss and gradient are 0.

        Up to 32 costs of elements are added in the arrays' own type, all else in float64: so a loss is off by at most
        ``40 u * sum |w * cost| / D`` beside what its formula is (u is half the type's eps), however many there are, for
        costs up to 2^118 in float32 (of more, 512 side by side may sum to infinity). Of arrays in float64, whose own
        type that is, ``2^13 u``.

        Parameters
        ----------
        chosen : the loss and the values of its parameters
        predictions : (N, K) array of scores, or for a loss over elements (N, ...)
        targets : (N,) int32 array of classes in [0, K); for a loss over elements an array like `predictions`, as also
            for one that takes soft targets, whose rows count alike, whatever the weights of classes
        channel_weight : (K,) array or None, the c of the formula; over elements that of the last axis
            The cost of a row with a class is c[y] times that of the formula, where that names no c.
        sample_weight : (N,) array or None, the w
        ignore_index : rows of this class, which need not be one of the K, have the weight 0; None: no such
        mean : whether the mean is asked for; else the sum
        divisor : (1,) float64 array that takes the place of D, for the mean of a larger batch of which this is a part
        loss : () array of the type of `predictions`, written; grad : like `predictions`, written
        """

    @abc.abstractmethod
    def loss_divisor(
        self,
        chosen: ChosenLoss,
        targets: Array,
        *,
        channel_weight: Array | None,
        sample_weight: Array | None,
        ignore_index: int | None,
        out: Array,
        workspace: Workspace,
    ) -> None:
        """``out[0] = D``, what the mean of `loss_and_grad` divides by, whose arguments these are; out (1,) float64."""

    @abc.abstractmethod
    def count_correct(self, logits: Array, labels: Array, *, top: int, out: Array) -> None:
        """``out[0] += number of rows where fewer than top classes come before that of the label``; out (2,) int64.

        Before it come those of a larger logit, NaN being the largest, and of an equal one those of a lower number. Rows
        whose label is not in [0, K) are left out; ``out[1] += number of the others``.
        """

    @abc.abstractmethod
    def count_confusions(self, logits: Array, labels: Array, *, out: Array) -> None:
        """``out[y, k] += number of rows with the label y whose class k comes first``, see `count_correct`.

        out (K, K) int64. Rows whose label is not in [0, K) are left out.
        """

    @abc.abstractmethod
    def sum_errors(self, predictions: Array, targets: Array, *, out: Array) -> None:
        """Add up the errors ``e = predictions - targets`` of rows, and the targets' distances from the first one.

        ``out[0] += N``; where out[0] was 0, ``out[1] = targets[0]``; ``out[2:] += sum over rows of e, |e|, e**2, d,
        d**2`` with ``d = targets - out[1]``. In float64, so that variances keep their digits.

        Parameters
        ----------
        predictions, targets : (N, K) arrays
        out : (7, K) float64 array, updated
        """
