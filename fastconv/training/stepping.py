"""How a `Trainer` does a step: captured or not, whole or not at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv._attributes import Declared
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, ShapeError
from fastconv.losses import DeclaredLoss, Loss
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.undo import Snapshot, arenas_of
from fastconv.nn.model.model import Layer
from fastconv.optim.optimizer import Optimizer
from fastconv.optim.schedules import Schedule, rate_at
from fastconv.training.captured import CapturedStep, foreign_part, form_of
from fastconv.training.clipping import Clip
from fastconv.training.parts import checked_optimizer
from fastconv.training.sharded import ShardedStep
from fastconv.training.step import Batch, Done, StepSettings, train_step
from fastconv.training.wiring import Wiring, is_wired, wiring_of


class Stepping(Declared):
    """What a step needs; see `Trainer`."""

    model: Layer
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule | None
    clip: Clip | None
    accumulate: int
    seed: int
    step: int
    epoch: int
    _capture: bool
    _must_capture: bool
    _captured: CapturedStep | None = None
    _shared: ShardedStep | None = None
    _last_form: tuple[Any, ...] = ()
    _squares: Array | None = None
    _wired: Layer | None = None  # the model whose wiring this is
    _wiring: Wiring = ()

    @property
    def gradient_norm(self) -> float | None:
        """The norm of all gradients of the last step, before they were clipped; waits for the device.

        None before the first step, and without `ClipNorm` or `ClipGlobalNorm`.
        """
        if self._squares is None:
            return None
        return math.sqrt(float(np.sum(self.model.backend.to_numpy(self._squares))))

    def _step(self, batch: Batch) -> Done:
        """Do a step on a batch that was checked."""
        if not batch.x.shape[0]:
            raise ShapeError(f"x: got shape {tuple(batch.x.shape)}, a batch of nothing; allowed: at least one row")
        self._heed_wiring()
        optimizer, number = self.optimizer, self.step
        updates, rate = optimizer.steps, optimizer.lr
        statistics: Snapshot | None = None
        try:
            optimizer.epoch = self.epoch
            if self.schedule is not None:
                optimizer.lr = rate_at(self.schedule, number, self.epoch)
            how = StepSettings(self.seed, self.clip, self.accumulate)
            captured = self._captured_step(how, batch) if self._capture else None
            tensors = () if captured else tuple(self.model.tensors())
            buffers = [tensor for tensor in tensors if not isinstance(tensor, Parameter)]
            statistics = Snapshot(self.model.backend, captured.statistics if captured else arenas_of(buffers))
            done = captured.run(batch, number) if captured else None
            if done is None:
                if captured:
                    statistics.put_back()
                found = tensors or self.model.tensors()
                done = train_step(
                    *(self.model, self.loss, optimizer, batch),
                    settings=how,
                    update=optimizer.step,
                    parameters=[tensor for tensor in found if isinstance(tensor, Parameter)],
                    number=number,
                )
            self.step, self._squares = number + 1, done.squares
        except BaseException:
            if optimizer.steps != updates:
                self.step = number + 1
            else:
                optimizer.lr = rate
                if statistics is not None:
                    statistics.put_back()
            raise
        return done

    def _heed_wiring(self) -> None:
        """Refuse layers that the model was not built with, or the optimizer not made for; capture anew with others."""
        if self._wired is self.model and (not self._wiring or is_wired(self._wiring)):
            return
        self.model.check_layers()
        checked_optimizer(self.optimizer, self.model)
        self._captured = self._shared = None
        self._wiring, self._wired = wiring_of(self.model), self.model

    def _captured_step(self, how: StepSettings, batch: Batch) -> CapturedStep | None:
        """Return the step for batches like this, captured now if need be, or None if this one is not captured.

        One form at a time has the memory of a captured step; another gets it when it comes twice in a row.
        """
        form, last, kept = form_of(batch), self._last_form, self._captured
        self._last_form = form
        if kept is not None and kept.form != form and last != form:
            return None
        if kept is None or kept.form != form or not kept.fits(self.model, self.loss, self.optimizer, how):
            self._captured = kept = None  # its memory is free for the next one
            loss = self.loss
            if foreign_part(self.model, loss, self.optimizer) is None and isinstance(loss, DeclaredLoss):
                self._captured = CapturedStep(self.model, loss, self.optimizer, how, batch)
                if self._must_capture and not self._captured.works:
                    raise ArgumentError(
                        "capture: got True with a layer that computes in NumPy, or a convolution tap by tap; allowed:"
                        " None or False, or layers that compute by fastconv.functional or kernels alone"
                    )
        return self._captured
