"""A training step that several ranks share: each its own shards of the batch, and one update that all of them do.

Shards pass one after the other, each as the captured program of its shape where that can be; where layers meet
(`SyncBatchNorm`), together and not captured. Their gradients, and what running statistics moved by, are joined in one
tree, over the shards of a rank first; the last one's gradients go out while its backward pass goes on.

A shard draws its random numbers from a stream of its own: that of its number in its step.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, ShapeError
from fastconv.losses import Loss
from fastconv.losses.listed import ListedLoss
from fastconv.nn.core.parameter import Parameter, arena_slices
from fastconv.nn.core.paths import paths_of
from fastconv.nn.core.undo import arenas_of
from fastconv.nn.layers.sync_norm import SyncBatchNorm
from fastconv.nn.model.model import Layer
from fastconv.optim.optimizer import Optimizer
from fastconv.parallel.buckets import TreeSum, reduce_array
from fastconv.parallel.data_parallel import DataParallel
from fastconv.parallel.sending import Sender
from fastconv.training.captured import form_of, strange_parts
from fastconv.training.shard_pass import CapturedShard, shard_pass
from fastconv.training.shards_together import pass_together
from fastconv.training.step import Batch, Done, StepSettings
from fastconv.training.whole_batch import GlobalBatch, Results, joined_by_all, tell_of_batch

_FORMS = 4  # shapes of shards that are captured at once: those of a batch, and of the last one of an epoch


class ShardedStep:
    """Does the passes of steps; see `Stepping`, which does the rest.

    Attributes
    ----------
    images : int
        How many rows this rank has computed in training.
    """

    def __init__(
        self, model: Layer, loss: Loss, optimizer: Optimizer, parallel: DataParallel, how: StepSettings
    ) -> None:
        self._model, self._loss, self._optimizer, self._parallel, self._how = model, loss, optimizer, parallel, how
        self._backend = model.backend
        self.images = 0
        self._captured: OrderedDict[tuple[Any, ...], CapturedShard] = OrderedDict()
        self._parameters = [tensor for tensor in model.tensors() if isinstance(tensor, Parameter)]
        self._arenas = [tensor.arena for tensor in model.tensors()]
        self._statistics = arenas_of(model.buffers())
        self.meets = any(isinstance(layer, SyncBatchNorm) for layer in model.walk())
        pieces = arena_slices(self._parameters)
        count = len(parallel.own)
        self._tree = TreeSum(self._backend, [piece.grad() for piece in pieces], count)
        self._moved = [self._backend.empty(array.shape, array.dtype) for array in self._statistics]
        self._moves = TreeSum(self._backend, self._moved, count)
        self._sender = Sender(parallel, self._tree, pieces, _written_often(model))

    def fits(self, model: Layer, loss: Loss, optimizer: Optimizer, how: StepSettings) -> bool:
        """Tell whether it is of these, and their arrays are where they were."""
        same = model is self._model and loss is self._loss and optimizer is self._optimizer and how == self._how
        return same and all(map(operator.is_, (tensor.arena for tensor in model.tensors()), self._arenas))

    def run(self, shards: Sequence[Batch], number: int, results: Results, *, capture: bool) -> None:
        """Compute the gradients of a batch, of which these are the own shards, and move the running statistics.

        What the shards' losses and metrics come to is counted in by `results`.
        """
        parallel = self._parallel
        whole = self._told(shards)
        before = [array.copy() for array in self._statistics]
        for parameter in self._parameters:
            if parameter.is_frozen:  # what lies in its place is sent along
                parameter.zero_grad()
                parameter.complete_grad()
        self._sender.begin()
        try:
            with parallel.span("compute"):
                if self.meets:
                    self._together(shards, whole, number, results, before)
                else:
                    self._in_turn(shards, whole, number, results, before, capture=capture)
        except BaseException:
            self._sender.abandon()
            raise
        self._sender.finish()
        parallel.exchange.now(self._reduce_moves)
        for array, old, moved in zip(self._statistics, before, self._moved, strict=True):
            array[...] = old + moved
        for parameter in self._parameters:
            parameter.wrote_grad()
        self.images += sum(shard.x.shape[0] for shard in shards)

    def _reduce_moves(self) -> None:
        for array in self._moved:
            reduce_array(self._parallel.communicator, array, ordered=self._parallel.deterministic, bf16=False)

    def _told(self, shards: Sequence[Batch]) -> GlobalBatch:
        parallel = self._parallel
        whole = tell_of_batch(self._model, self._loss, parallel, shards)
        if whole.divisor is not None and self._backend.on_host and not whole.divisor.any():
            raise ArgumentError(
                f"targets: got a batch of {whole.total} rows in which nothing counts for {self._loss!r}; allowed: at"
                " least one row that counts, or reduction='sum'"
            )
        if self.meets and not whole.rows.all():
            raise ShapeError(
                f"x: got a batch of {whole.total} rows with SyncBatchNorm and {parallel.shards} shards; allowed: at"
                " least one row for each shard (drop_last=True leaves out a last batch that is short)"
            )
        return whole

    def _stream(self, number: int, shard: int) -> int:
        """Return the number of the stream of random numbers of a shard in a step."""
        return number * self._parallel.shards + self._parallel.own[shard]

    def _in_turn(
        self,
        shards: Sequence[Batch],
        whole: GlobalBatch,
        number: int,
        results: Results,
        before: Sequence[Array],
        *,
        capture: bool,
    ) -> None:
        last = len(shards) - 1
        for place, shard in enumerate(shards):
            overlap = self._parallel.overlap and self._backend.on_host and place == last
            done = None
            if not shard.x.shape[0]:
                self._model.zero_grad()
            else:
                done = self._pass(shard, whole, self._stream(number, place), before, capture=capture, overlap=overlap)
                self._sender.know(self._parameters)
            results.add(shard, done)
            for parameter in self._parameters:
                parameter.complete_grad()
            self._count_moves(place, shard, whole, before)
            if place < last:
                self._tree.add(place)

    def _count_moves(self, place: int, shard: Batch, whole: GlobalBatch, before: Sequence[Array]) -> None:
        """Count in what a shard moved the running statistics by, and put them back for the next one."""
        for array, old, moved in zip(self._statistics, before, self._moved, strict=True):
            with np.errstate(invalid="ignore"):
                np.subtract(array, old, out=moved)
            moved[array == old] = 0  # a variance that is infinite already, too
            moved *= moved.dtype.type(shard.x.shape[0] / whole.total)
            array[...] = old
        self._moves.add(place)

    def _pass(
        self, shard: Batch, whole: GlobalBatch, stream: int, before: Sequence[Array], *, capture: bool, overlap: bool
    ) -> Done:
        share = whole.share(self._loss, shard)
        send: Callable[[int], None] | None = self._sender.send if overlap else None
        captured = self._captured_shard(shard) if capture else None
        if captured is not None:
            done = captured.run_shard(shard, share, stream, send)
            if done is not None:
                return done
            for array, old in zip(self._statistics, before, strict=True):
                array[...] = old
        with self._sender.keeping_sent():
            eager = (lambda: self._sender.send(self._sender.ready())) if overlap and captured is None else None
            seeded = (self._how.seed, stream)
            return shard_pass(self._model, self._loss, shard, share=share, stream=seeded, look=eager)

    def _captured_shard(self, shard: Batch) -> CapturedShard | None:
        """Return the pass of shards like this, captured now if need be."""
        form = form_of(shard)
        kept = self._captured.get(form)
        if kept is None or not kept.fits(self._model, self._loss, self._optimizer, self._how):
            self._captured.pop(form, None)
            loss = self._loss
            if not isinstance(loss, ListedLoss) or strange_parts(self._model, loss, self._optimizer):
                return None
            self._sender.begin()
            kept = CapturedShard(self._model, loss, self._optimizer, self._how, shard, self._sender.ready)
            self._captured[form] = kept
            if len(self._captured) > _FORMS:
                self._captured.popitem(last=False)
        self._captured.move_to_end(form)
        return kept

    def _together(
        self, shards: Sequence[Batch], whole: GlobalBatch, number: int, results: Results, before: Sequence[Array]
    ) -> None:
        """Let the shards pass each layer together."""
        shares = [whole.share(self._loss, shard) for shard in shards]

        def one(place: int) -> Done:
            stream = (self._how.seed, self._stream(number, place))
            return shard_pass(self._model, self._loss, shards[place], share=shares[place], stream=stream)

        passes = [partial(one, place) for place in range(len(shards))]
        own = pass_together(self._model, passes, partial(joined_by_all, self._parallel))
        for place, (done, grads, statistics) in enumerate(own):
            results.add(shards[place], done)
            for mine, theirs in zip(self._tree.arrays, grads, strict=True):
                mine[...] = theirs
            for mine, theirs in zip(self._statistics, statistics, strict=True):
                mine[...] = theirs
            self._count_moves(place, shards[place], whole, before)
            if place < len(shards) - 1:
                self._tree.add(place)


def _written_often(model: Layer) -> set[Parameter]:
    """Return the parameters of layers that have several places in the model."""
    seen: set[int] = set()
    often: set[Parameter] = set()
    for layer, _ in paths_of(model):
        if id(layer) in seen:
            often.update(tensor for tensor in layer.own_tensors() if isinstance(tensor, Parameter))
        seen.add(id(layer))
    return often
