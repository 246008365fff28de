"""What a callback is, and what it sees of the training."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from fastconv._attributes import Declared
from fastconv._validate import shown
from fastconv.backends.contract.types import Array
from fastconv.errors import CheckpointError
from fastconv.losses import Loss
from fastconv.metrics import Metric
from fastconv.nn import Layer
from fastconv.optim import Optimizer
from fastconv.optim.schedules import Schedule
from fastconv.training.history import History


@dataclass(frozen=True)
class StepInfo:
    """One training step that was done.

    Parameters
    ----------
    batch, batches : int
        Its number in the epoch, from 1, and how many there are.
    images : int
        Size of the batch.
    loss : () array of the backend
        ``float(loss)`` waits for the device.

    Examples
    --------
    >>> fc.training.StepInfo(batch=3, batches=10, images=128, loss=np.array(0.5)).images
    128
    """

    batch: int
    batches: int
    images: int
    loss: Array


class Training(Protocol):
    """What callbacks see of a `Trainer`; its attributes are described there.

    Examples
    --------
    >>> class Told(fc.training.Callback):
    ...     def on_train_begin(self, trainer):
    ...         print(trainer.steps_per_epoch, trainer.last_epoch, trainer.validates)
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer = fc.optim.SGD(model.parameters(), 0.1)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=Told())
    >>> one = np.ones((4, 1), np.float32)
    >>> history = trainer.fit((one, one), 3, batch_size=2)
    2 3 False
    """

    model: Layer
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule | None
    history: History
    seed: int
    step: int
    epoch: int
    steps_per_epoch: int
    last_epoch: int
    validates: bool
    stop: bool
    stop_now: bool
    metrics: tuple[Metric, ...] | None

    @property
    def position(self) -> Mapping[str, Any] | None:
        """How far the epoch is that was left in its middle, or that is running."""
        ...

    @property
    def quantities(self) -> tuple[str, ...]:
        """The names that an epoch may have in the history."""
        ...

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that going on needs.

        Parameters
        ----------
        path : str or path
            The file, new or to be replaced.
        """
        ...


class Callback(Declared):
    """Base class: override what is needed.

    ``trainer.stop = True`` ends the training after the epoch, ``trainer.stop_now = True`` after the step. No method
    looks into a step, so that it may be captured and replayed.

    One that has a state which a training that is taken up again needs gives it as `state_dict`, a dict of numbers,
    strings and NumPy arrays, and takes it as `load_state_dict`, all or nothing, before `on_train_begin`.

    Attributes
    ----------
    saves : bool
        Whether it writes the state of the training, and so is called after the others, after steps and epochs.
    first_rank_only : bool
        Whether, of several processes that train together, only that of rank 0 calls it: as it writes files, shows
        something, or looks at a clock. What it stops ends on all ranks.

    Examples
    --------
    >>> class Falling(fc.training.Callback):
    ...     def on_epoch_end(self, trainer, logs):
    ...         trainer.stop = logs["loss"] < 0.1
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> optimizer = fc.optim.SGD(model.parameters(), 0.1)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), optimizer, callbacks=Falling())
    >>> one = np.ones((4, 1), np.float32)
    >>> trainer.fit((one, one), 100).epochs < 100
    True
    """

    saves: ClassVar[bool] = False
    first_rank_only: ClassVar[bool] = False

    def on_train_begin(self, trainer: Training) -> None:
        """Do something before the first step of `Trainer.fit`.

        Parameters
        ----------
        trainer : Training
            The `Trainer`, before its first step.
        """

    def on_step_begin(self, trainer: Training, x: Array, y: Array) -> None:
        """Do something before each step, on this batch.

        Parameters
        ----------
        trainer : Training
            The `Trainer`.
        x, y : array
            The batch.
        """

    def on_step_end(self, trainer: Training, info: StepInfo) -> None:
        """Do something after each step.

        Parameters
        ----------
        trainer : Training
            The `Trainer`.
        info : StepInfo
            Which step it was, and its loss.
        """

    def on_epoch_end(self, trainer: Training, logs: dict[str, float]) -> None:
        """Do something after each epoch and its validation; `logs` is the epoch's entry in the history.

        Parameters
        ----------
        trainer : Training
            The `Trainer`.
        logs : dict of str to float
            The epoch's quantities, by their names in the history.
        """

    def on_divergence(self, trainer: Training) -> str:
        """Return what else there is to say of a loss that is not finite: a sentence for the error that ends `fit`.

        Parameters
        ----------
        trainer : Training
            The `Trainer`, as it was when the loss was no longer finite.

        Returns
        -------
        str
            A sentence, or "".
        """
        return ""

    def on_train_end(self, trainer: Training) -> None:
        """Do something at the end of `Trainer.fit`, also when it ends by an exception.

        Parameters
        ----------
        trainer : Training
            The `Trainer`, after its last step.
        """

    def files(self) -> tuple[Path, ...]:
        """Return the files that it writes: those of no two callbacks of one `Trainer` may be the same.

        Returns
        -------
        tuple of Path
            None by default.
        """
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Return what a training that is taken up again needs of it.

        Returns
        -------
        dict
            Of numbers, strings and NumPy arrays.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave; CheckpointError if it is something else.

        Parameters
        ----------
        state : mapping
            What `state_dict` gave.
        """
        check_state(self, state, {})


def check_state(callback: Callback, state: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Refuse a state that has not just these entries, each a value of its kind."""
    allowed = f"allowed: what its state_dict gave, {', '.join(map(repr, kinds)) or 'nothing'}"
    if not isinstance(state, Mapping) or set(state) != set(kinds):
        got = ", ".join(map(repr, state)) or "nothing" if isinstance(state, Mapping) else type(state).__name__
        raise CheckpointError(f"state: got {got} for {type(callback).__name__}; {allowed}")
    for name, kind in kinds.items():
        if not isinstance(state[name], kind):
            raise CheckpointError(
                f"state: got {shown(state[name])} as {name!r} of {type(callback).__name__}; {allowed}"
            )


@contextmanager
def reading_state(callback: Callback) -> Iterator[None]:
    """Within this, what is missing from a state, or of a wrong kind deep in it, is a CheckpointError."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"state: got one that {type(callback).__name__} cannot read ({type(error).__name__}: {error});"
            " allowed: what its state_dict gave"
        ) from error
