"""Forward, loss and backward of one shard of a batch: as it is, or captured in parts between which gradients go out.

What a shard computes is its share of the batch's loss and gradients: all shards' add up to those of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np

from fastconv import random
from fastconv._within import holding
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.losses import Loss, loss_and_grad
from fastconv.losses.listed import ListedLoss, Whole, is_listed
from fastconv.nn import Layer
from fastconv.nn.fused.steps import FusedStep, Pass, Watcher, watcher
from fastconv.optim.optimizer import Optimizer
from fastconv.training.captured import CapturedStep
from fastconv.training.step import Batch, Done, StepSettings, scaled

Share = Array | float | None
"""What a batch says of a shard's loss: what the mean divides by, or the shard's share of the rows; None of a sum."""


def shard_loss(model: Layer, loss: Loss, predictions: Array, shard: Batch, share: Share) -> tuple[Array, Array]:
    """Return a shard's part of the loss of a batch, and its gradient."""
    _, targets, weight = shard
    if is_listed(loss):
        targets = loss.of_part().checked_targets(targets, predictions.shape, predictions.dtype)
        return Whole(loss, targets, weight, share).part(predictions, 0, predictions.shape[0])
    if weight is not None:
        raise ArgumentError(
            f"sample_weight: got weights with parallel and {loss!r}; allowed: with one of fastconv's losses, whose mean"
            " over the whole batch is known"
        )
    value, gradient = loss_and_grad(loss, predictions, targets)
    return (value, gradient) if share is None else scaled(model.backend, value, gradient, float(share))


class Looking(Watcher):
    """Calls a function after each step of a plan that runs backward."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look

    def begins(self, step: FusedStep, direction: Pass, x: Array) -> None:
        """Do nothing."""

    def ends(self, result: Array | None) -> None:
        """Look."""
        self._look()


def shard_pass(
    model: Layer,
    loss: Loss,
    shard: Batch,
    *,
    share: Share,
    stream: tuple[int, int | Array],
    look: Callable[[], None] | None = None,
) -> Done:
    """Do forward, loss and backward of a shard; the gradients are written anew.

    Parameters
    ----------
    stream : seed and number of the stream of random numbers
    look : callable or None
        Called in the midst of the backward pass, whenever there may be more gradients.
    """

    def run() -> Done:
        predictions, context = model.forward(shard.x, training=True)
        value, gradient = shard_loss(model, loss, predictions, shard, share)
        model.zero_grad()
        with nullcontext() if look is None else holding(watcher, Looking(look)):
            model.backward(gradient, context, needs_input_grad=False)
        return Done(value, predictions)

    return random.in_stream(*stream, run)


class CapturedShard(CapturedStep):
    """`shard_pass` on shards like one, captured in parts.

    Parameters
    ----------
    ready : callable
        Returns how many buckets of gradients could be sent that were not yet, when a part ends.
    """

    def __init__(
        self,
        model: Layer,
        loss: ListedLoss,
        optimizer: Optimizer,
        how: StepSettings,
        shard: Batch,
        ready: Callable[[], int],
    ) -> None:
        self._ready = ready
        self._sent: list[int] = []
        self._parts_recorded: Sequence[Callable[[], bool]] | None = None
        self._divisor = model.backend.asarray(np.ones(1)) if loss.reduction == "mean" else None
        super().__init__(model, loss, optimizer, how, shard, checks=loss.of_part())

    def _record(self) -> None:
        self._parts_recorded = self._backend.capture_parts(self._compute_parts)

    def _compute_parts(self, cut: Callable[[], None]) -> None:
        self._sent = []

        def look() -> None:
            count = self._ready() - sum(self._sent)
            if count > 0:
                self._sent.append(count)
                cut()

        self._done = shard_pass(
            *(self._model, self._loss, Batch(self._x, self._y, self._weight)),
            share=self._divisor,
            stream=(self._how.seed, self._step),
            look=look,
        )

    def run_shard(self, shard: Batch, share: Share, number: int, send: Callable[[int], None] | None) -> Done | None:
        """Do the pass; the next one overwrites what is returned. None as of `CapturedStep.run`.

        Parameters
        ----------
        number : int
            Of the stream of random numbers.
        send : callable or None
            Called with a number of buckets, whenever so many more may be sent.
        """
        parts = self._parts_recorded
        if parts is None:
            return None
        backend, predictions = self._backend, self._done.predictions
        for value, array in zip(shard, (self._x, None, self._weight), strict=True):
            if array is not None:
                backend.copy(value, out=array)
        backend.copy(self._checks.checked_targets(shard.y, predictions.shape, predictions.dtype), out=self._y)
        if self._divisor is not None:
            backend.copy(share, out=self._divisor)
        self._step[0] = number % 2**32
        self._note_gradients(written=False)
        counts = self._sent if len(parts) == len(self._sent) + 1 else [0] * (len(parts) - 1)
        for part, count in zip(parts, [*counts, 0], strict=True):
            if not part():
                return None
            if send is not None and count:
                send(count)
        self._note_gradients(written=True)
        return self._done
