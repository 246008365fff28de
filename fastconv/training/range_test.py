"""The learning-rate range test: a short run whose rate rises from step to step shows which rates are of use.

(Smith, https://arxiv.org/abs/1506.01186; the suggestions are those of fastai)
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastconv import _validate as validate
from fastconv._calls import tells_habits
from fastconv.errors import DivergenceError
from fastconv.optim.schedules import Exponential
from fastconv.training.batches import Batches, as_batches, pairs, size_of_batches
from fastconv.training.history import History
from fastconv.training.trainer import Trainer, checked_trainer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Suggestion(NamedTuple):
    """Two rates to begin with.

    Attributes
    ----------
    steepest : float
        Where the smoothed loss falls fastest, by the logarithm of the rate; without the first tenth of the steps, of
        which so few are averaged.
    tenth_of_minimum : float
        A tenth of the rate where it is least.
    """

    steepest: float
    tenth_of_minimum: float


@dataclass(frozen=True)
class RangeTest:
    """What `find_learning_rate` found: a loss for each rate.

    Parameters
    ----------
    rates, losses : tuple of float
        Of each step.
    smoothed : tuple of float
        ``average / (1 - smoothing ** n)`` after n steps, where ``average = smoothing * average
        + (1 - smoothing) * loss`` begins at 0.
    diverged : bool
        Whether it ended early because the loss rose too far or was no longer finite.

    Examples
    --------
    >>> rates, losses = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), (2.0, 1.9, 1.0, 0.5, 3.0)
    >>> fc.training.RangeTest(rates, losses, losses, diverged=False).suggestion
    Suggestion(steepest=0.01, tenth_of_minimum=0.01)
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    diverged: bool

    @property
    def suggestion(self) -> Suggestion | None:
        """Rates to begin with; None where the loss never fell."""
        begin, least = len(self.rates) // 10, int(np.argmin(self.smoothed))
        if least < begin + 2:
            return None
        slopes = np.gradient(self.smoothed[begin : least + 1], np.log(self.rates[begin : least + 1]))
        return Suggestion(self.rates[begin + int(np.argmin(slopes))], self.rates[least] / 10)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it.

        Returns
        -------
        dict
            Of plain values, for JSON.
        """
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {**lists, "suggestion": self.suggestion and self.suggestion._asdict()}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw it, as `fastconv.plot.learning_rate_finder` does.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Where; a new one if None.

        Returns
        -------
        matplotlib.axes.Axes
            With the curve.
        """
        from fastconv.plot import learning_rate_finder

        return learning_rate_finder(self, ax)


@tells_habits({"num_steps": "steps", "num_iter": "steps", "start_lr": "low", "end_lr": "high"})
def find_learning_rate(
    trainer: Trainer,
    train: Any,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    *,
    batch_size: int | None = None,
    smoothing: float = 0.9,
    stop_at: float = 4.0,
) -> RangeTest:
    """Train a copy with rates that rise exponentially from `low` to `high`, and return the loss of each step.

    The rate of step i is ``low * (high / low) ** (i / (steps - 1))``. Model, optimizer and trainer stay what they are,
    to the bit; the copy takes as much memory again. Steps are captured as in `Trainer.fit`; callbacks are not called.

    Parameters
    ----------
    trainer : Trainer
        Its schedule is left out of account.
    train : like that of `Trainer.fit`
        Begun again where it ends before `steps`.
    low, high : float
        The first and the last rate.
    steps : int
        At least 3.
    batch_size : int or None
        Of a pair of arrays; 128 by default.
    smoothing : float
        How much of the average is kept in each step. fastai's 0.98 averages over half of 100 steps, and so finds all
        rates too large.
    stop_at : float
        It ends where the smoothed loss is above so many times the least so far.

    Returns
    -------
    RangeTest
        Its `suggestion` has two rates to begin with.

    Raises
    ------
    DivergenceError
        The first loss is not finite.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(1)).build((1,), seed=0)
    >>> trainer = fc.Trainer(model, fc.losses.MeanSquaredError(), fc.optim.SGD(model.parameters(), 0.1))
    >>> one = np.ones((4, 1), np.float32)
    >>> found = fc.training.find_learning_rate(trainer, (one, one), low=1e-3, high=10.0, steps=20)
    >>> found.diverged, 1e-2 < found.suggestion.steepest < 1.0
    (True, True)
    """
    trainer = checked_trainer(trainer)
    low = validate.number(low, "low", low=0, open_low=True)
    high = validate.number(high, "high", low=low, open_low=True)
    steps = validate.at_least(steps, 3, "steps")
    smoothing = validate.number(smoothing, "smoothing", low=0, high=1)
    stop_at = validate.number(stop_at, "stop_at", low=1, open_low=True)
    size = size_of_batches(batch_size, 128, train)
    batches = as_batches(train, "train", trainer.model, size, shuffle=True, seed=trainer.seed)
    twin = _copy_of(trainer)
    twin.schedule = Exponential(low, high / low, steps - 1)
    epoch = getattr(batches, "epoch", None)
    try:
        return _rising(twin, batches, steps, smoothing, stop_at)
    finally:
        if epoch is not None and hasattr(batches, "set_epoch"):
            batches.set_epoch(epoch)


def _copy_of(trainer: Trainer) -> Trainer:
    """Return a trainer at its first step, with copies of all that a step changes and nothing that watches."""
    shallow = copy.copy(trainer)
    shallow.callbacks, shallow.schedule, shallow.history = (), None, History()
    shallow.step = shallow.epoch = 0
    return copy.deepcopy(shallow)


def _rising(trainer: Trainer, batches: Batches, steps: int, smoothing: float, stop_at: float) -> RangeTest:
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    average, diverged = 0.0, False
    for number, (x, y) in enumerate(itertools.islice(_without_end(batches), steps), start=1):
        with np.errstate(all="ignore"):  # the last rates are meant to be too large
            loss = float(trainer.train_step(x, y))
        if not math.isfinite(loss):
            if not losses:
                raise DivergenceError(
                    f"loss: got {loss} in the first step, at {trainer.optimizer.lr:g}; allowed: finite"
                )
            diverged = True
            break
        average = smoothing * average + (1 - smoothing) * loss
        rates.append(trainer.optimizer.lr)
        losses.append(loss)
        smoothed.append(average / (1 - smoothing**number))
        if smoothed[-1] > stop_at * min(smoothed):
            diverged = True
            break
    return RangeTest(tuple(rates), tuple(losses), tuple(smoothed), diverged)


def _without_end(batches: Batches) -> Iterator[Any]:
    for epoch in itertools.count():
        if hasattr(batches, "set_epoch"):
            batches.set_epoch(epoch)
        yield from pairs(batches, "train")
