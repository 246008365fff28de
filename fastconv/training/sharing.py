"""What a `Trainer` does where several ranks share its steps: `Trainer(parallel=...)`.

Before the first step the ranks make sure that they do the same: code, data, model, settings and seeds are compared, and
all values are those of rank 0.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastconv.errors as home
from fastconv._attributes import settings_of
from fastconv.algorithm import get_algorithm
from fastconv.backends.contract.types import Array
from fastconv.data.loader import DataLoader
from fastconv.kernels.cache_root import archive_of
from fastconv.metrics import Metric
from fastconv.nn.core.undo import Snapshot, arenas_of, touch_all
from fastconv.optim.schedules import rate_at
from fastconv.parallel.agreement import check_alike, check_values, share_values
from fastconv.parallel.data_parallel import DataParallel
from fastconv.parallel.shares import own_share
from fastconv.parallel.tree import gathered
from fastconv.precision import get_precision
from fastconv.training.batches import Batches, checked_batch, no_batches, pairs
from fastconv.training.callbacks import Callback
from fastconv.training.environment import versions
from fastconv.training.fit_data import FitData
from fastconv.training.shard_pass import shard_loss
from fastconv.training.sharded import ShardedStep
from fastconv.training.step import Batch, Done, StepSettings, limit_gradients
from fastconv.training.stepping import Stepping
from fastconv.training.totals import Totals
from fastconv.training.whole_batch import Result, Results, tell_of_batch

_LOOKED_AT = 64  # images of a data set


class Turn(NamedTuple):
    """A step to do: the batch, or its first own shard; what does it, adds to totals, and returns loss and images."""

    x: Array
    y: Array
    do: Callable[[Totals], tuple[Array, int]]


class Sharing(Stepping):
    """Steps that one process does, or several share."""

    parallel: DataParallel | None
    callbacks: tuple[Callback, ...]
    metrics: tuple[Metric, ...] | None
    last_epoch: int
    stop: bool
    stop_now: bool
    _classes: Array | None

    @property
    def called(self) -> tuple[Callback, ...]:
        """The callbacks that are called in this process."""
        if self.parallel is None or self.parallel.rank == 0:
            return self.callbacks
        return tuple(callback for callback in self.callbacks if not callback.first_rank_only)

    @property
    def images_computed(self) -> int:
        """How many images this rank has computed in training, with `parallel`."""
        return 0 if self._shared is None else self._shared.images

    def _turns(self, batches: Batches, done: int) -> Iterator[tuple[int, Turn]]:
        """Yield the steps of an epoch, those left out that are done, with their numbers from 1."""
        found = pairs(batches, "train") if self.parallel is None else iter(batches)
        for number, raw in enumerate(found, start=1):
            if number > done:
                yield number, self._turn(raw)

    def _turn(self, raw: Any) -> Turn:
        if self.parallel is None:
            batch = self._checked(raw)
            return Turn(batch.x, batch.y, partial(self._do_alone, batch))
        shards = [self._checked(piece) for piece in raw]
        return Turn(shards[0].x, shards[0].y, partial(self._do_shared, shards))

    def _checked(self, raw: Any) -> Batch:
        x, y, weight = (*raw, None)[:3]
        return checked_batch(self.model, x, y, weight, self._classes)

    def _do_alone(self, batch: Batch, totals: Totals) -> tuple[Array, int]:
        loss, predictions, _ = self._step(batch)
        totals.add(loss, predictions, batch.y, totals.count(predictions, batch.y, batch.weight))
        return loss, batch.x.shape[0]

    def _do_shared(self, shards: list[Batch], totals: Totals) -> tuple[Array, int]:
        result = self._shared_step(shards)
        totals.add_result(*result)
        return self._as_loss(result), result.images

    def _as_loss(self, result: Result) -> Array:
        return self.model.backend.asarray(np.array(result.loss, self.model.dtype))

    def _shared_step(self, shards: list[Batch]) -> Result:
        """Do a step of which these are the own shards, whole or not at all."""
        self._heed_wiring()
        parallel, optimizer, number = self._ranks, self.optimizer, self.step
        updates, rate = optimizer.steps, optimizer.lr
        statistics = Snapshot(self.model.backend, arenas_of(self.model.buffers()))
        how = StepSettings(self.seed, self.clip, self.accumulate)
        try:
            optimizer.epoch = self.epoch
            if self.schedule is not None:
                optimizer.lr = rate_at(self.schedule, number, self.epoch)
            if self._shared is None or not self._shared.fits(self.model, self.loss, optimizer, how):
                self._shared = ShardedStep(self.model, self.loss, optimizer, parallel, how)
            results = Results(self.model, self.loss, self.metrics)
            self._shared.run(shards, number, results, capture=self._capture)
            self._squares = limit_gradients(self.model.backend, self.clip, optimizer)
            with parallel.span("update"):
                optimizer.step()
            self.step = number + 1
        except BaseException:
            if optimizer.steps != updates:
                self.step = number + 1
            else:
                optimizer.lr = rate
                statistics.put_back()
                self.model.zero_grad()
            raise
        if parallel.compare_every and self.step % parallel.compare_every == 0:
            self._compare_values()
        return results.of_all(parallel)

    @property
    def _ranks(self) -> DataParallel:
        if self.parallel is None:
            raise home.ArgumentError("parallel: got None; allowed: a DataParallel, for what several ranks do")
        return self.parallel

    def _share_of(self, batches: Batches, name: str) -> Batches:
        """Return what yields the own shards of each batch, or the batches themselves without ranks."""
        if self.parallel is None:
            return batches
        found: Batches = own_share(batches, self.parallel.own, self.parallel.shards, partial(pairs, name=name))
        return found

    def _means(self, batches: Batches, name: str) -> dict[str, Any]:
        """Return the loss and the metrics over data."""
        totals = Totals(self.model.backend, self.loss, self.metrics)
        if self.parallel is not None:
            facts = {name: _data_facts(batches)}
            self.parallel.exchange.now(partial(check_alike, self.parallel.communicator, facts))
            totals = self._shared_means(self._share_of(batches, name))
        for raw in pairs(batches, name) if self.parallel is None else ():
            x, y, weight = checked_batch(self.model, *raw)
            predictions = self.model(x)
            totals.add_evaluated(predictions, y, weight)
        if not totals.images:
            raise no_batches(batches, name)
        return totals.means()

    def _shared_means(self, batches: Batches) -> Totals:
        """Return the loss and the metrics over data, of which each rank computes its share."""
        parallel, totals = self._ranks, Totals(self.model.backend, self.loss, self.metrics)
        for raw in batches:
            shards = [checked_batch(self.model, *piece) for piece in raw]
            whole = tell_of_batch(self.model, self.loss, parallel, shards)
            results = Results(self.model, self.loss, self.metrics)
            for shard in shards:
                done = None
                if shard.x.shape[0]:
                    predictions = self.model(shard.x)
                    share = whole.share(self.loss, shard)
                    done = Done(shard_loss(self.model, self.loss, predictions, shard, share)[0], predictions)
                results.add(shard, done)
            totals.add_result(*results.of_all(parallel))
        return totals

    def _agree(self, data: FitData) -> None:
        """Make sure that all ranks do the same, and give them the values of rank 0."""
        if self.parallel is None:
            return
        parallel, backend = self.parallel, self.model.backend
        check_alike(parallel.communicator, {**parallel.facts(), **self._facts(data)})
        arrays = self._values()
        parallel.exchange.now(lambda: share_values(parallel.communicator, backend, arrays))
        touch_all(self.model.tensors())
        self._compare_values()

    def _values(self) -> list[Array]:
        return [*arenas_of(self.model.tensors()), *self.optimizer.changed()]

    def _compare_values(self) -> None:
        parallel = self._ranks
        arrays, backend = self._values(), self.model.backend
        parallel.exchange.now(lambda: check_values(parallel.communicator, backend, arrays, self.step))

    def _tell(self, call: Callable[[Callback], Any]) -> None:
        """Call the callbacks; those that save once all ranks know whether the training ends, which they write down."""
        for callback in self.called:
            if not callback.saves:
                call(callback)
        self._agree_on_stop()
        agreed = self.stop, self.stop_now
        for callback in self.called:
            if callback.saves:
                call(callback)
                if self.parallel is not None and self.parallel.size > 1 and (self.stop, self.stop_now) != agreed:
                    raise home.ArgumentError(
                        f"callbacks: got {type(callback).__name__}, which saves, to end the training on rank"
                        f" {self.parallel.rank}; allowed: one with saves = False, which is asked before all agree"
                    )

    def _tell_all(self, call: Callable[[Callback], Any]) -> None:
        """Call all callbacks, the last first, whatever one of them raises: each may have something to put back."""
        with ExitStack() as calls:
            for callback in self.called:
                calls.callback(call, callback)

    def _await_files(self) -> None:
        """Wait until rank 0 has written its files: a rank that leaves with a status would end it meanwhile."""
        if self.parallel is not None and self.parallel.size > 1:
            self.parallel.exchange.now(self.parallel.communicator.barrier)

    def _agree_on_stop(self) -> None:
        """End on all ranks where one of them wants to."""
        parallel = self.parallel
        if parallel is None or parallel.size == 1 or not self.callbacks:
            return
        flags = np.array([self.stop, self.stop_now], np.int64)
        wanted = parallel.exchange.now(lambda: gathered(parallel.communicator, flags)).max(axis=0)
        self.stop, self.stop_now = bool(wanted[0]), bool(wanted[1])

    def _leave(self, leaving: SystemExit) -> None:
        """End the processes of all ranks where one is told to exit in the midst of its steps."""
        if self.parallel is not None and self.parallel.size > 1:
            print(f"rank {self.parallel.rank} of {self.parallel.size} exits, and ends the job", file=sys.stderr)
            sys.stderr.flush()
            self.parallel.communicator.abort(leaving.code if isinstance(leaving.code, int) and leaving.code else 1)
        raise leaving

    def _facts(self, data: FitData) -> dict[str, str]:
        """Return what must be the same on all ranks, in words."""
        model, optimizer = self.model, self.optimizer
        tensors = [(t.name, t.shape, str(t.array.dtype), getattr(t, "is_frozen", False)) for t in model.tensors()]
        layers = [(type(layer).__name__, _plain(settings_of(layer))) for layer in model.walk()]
        return {
            "versions": str(versions()),
            "code": code_digest(),
            "backend": f"{model.backend.name}, precision {get_precision()!r}, algorithm {get_algorithm()!r}",
            "model": str((tensors, layers)),
            "loss": repr(self.loss),
            "optimizer": repr(optimizer),
            "schedule": _named(self.schedule),
            "clip": repr(self.clip),
            "metrics": repr(self.metrics),
            "callbacks": str([type(callback).__name__ for callback in self.callbacks]),
            "seed": str(self.seed),
            "position": f"epoch {self.epoch}, step {self.step}, update {optimizer.steps}",
            "epochs": str(self.last_epoch),
            "class_weight": "None" if data.classes is None else str(model.backend.to_numpy(data.classes).tolist()),
            "train": _data_facts(data.train),
            "validation_data": "None" if data.validation is None else _data_facts(data.validation),
        }


@cache
def code_digest() -> str:
    """Return a digest of fastconv's own sources and of the program."""
    found = hashlib.sha256()
    package = Path(home.__file__).parent
    program = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    archive = archive_of(package)
    sources = sorted(package.rglob("*.py")) if archive is None else [archive]
    for path in [*sources, *([program] if program.is_file() else [])]:
        found.update(path.read_bytes())
    return f"sources of SHA-256 {found.hexdigest()}"


def _data_facts(train: Any) -> str:
    """Return by what data are known: how much, in which order, and some of it; all of what a rank keeps to itself."""
    facts: Mapping[str, Any] = train.facts() if hasattr(train, "facts") else {}
    if isinstance(train, DataLoader):
        facts = _loader_facts(train)
    return f"{_named(train)}, {len(train)} batches, {facts}"


def _plain(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return those that say all when they are written."""
    return {
        name: value for name, value in (settings or {}).items() if isinstance(value, bool | int | float | str | tuple)
    }


def _named(part: object) -> str:
    """Return how a part is written, or what it is if that would tell where in memory it lies."""
    text = repr(part)
    return type(part).__name__ if " at 0x" in text else text


def _loader_facts(loader: DataLoader) -> dict[str, Any]:
    arrays = loader.arrays
    found, count = hashlib.sha256(), len(arrays[0])
    on_host = [array for array in arrays if isinstance(array, np.ndarray)]
    for row in sorted({count * i // _LOOKED_AT for i in range(_LOOKED_AT)}) if count else ():
        for array in on_host:
            found.update(np.ascontiguousarray(array[row]).tobytes())
    names = ("seed", "shuffle", "drop_last", "mean", "std", "augmentation")
    return {name: getattr(loader, name) for name in names} | {"some rows": found.hexdigest()}
