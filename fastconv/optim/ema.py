"""Moving averages of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv._within import within
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.undo import Snapshot, touch_all
from fastconv.optim.nested import Nested
from fastconv.optim.optimizer import Optimizer

_RULE = UPDATE_RULES["ema"]


class EMA(Nested):
    """Keeps an exponential moving average of the weights that another optimizer trains.

    After each step ``average += (1 - d) * (p - average)`` with ``d = decay``, or ``min(decay, (1 + t) / (10 + t))`` at
    step t, counted from 1, with `warmup`. The average is at first the parameters as they are when this is made.
    Training does not see it; to evaluate with it::

        with optimizer.averaged():
            trainer.evaluate(data)

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rate and groups are its own.
    decay : float
        At least 0, below 1.
    warmup : bool
        Whether the average follows faster at first.

    Examples
    --------
    >>> layer = fc.nn.Dense(1, bias=False).build((1,), np.float64)
    >>> layer.weight.data = np.ones((1, 1))
    >>> optimizer = fc.optim.EMA(fc.optim.SGD(layer.parameters(), lr=1.0), decay=0.9)
    >>> layer.weight.add_grad(np.ones((1, 1)))
    >>> optimizer.step()
    >>> with optimizer.averaged():
    ...     average = layer.weight.data.round(3).tolist()
    >>> layer.weight.data.tolist(), average
    ([[0.0]], [[0.9]])
    """

    decay: float
    warmup: bool
    state_names = ("average",)
    adjusted = MappingProxyType(
        {
            "decay": partial(validate.number, name="decay", low=0, high=1),
            "warmup": partial(validate.truth, name="warmup"),
        }
    )

    def __init__(self, optimizer: Optimizer, *, decay: float = 0.999, warmup: bool = False) -> None:
        self.decay, self.warmup = self.adjusted["decay"](decay), self.adjusted["warmup"](warmup)
        self._swapped = False
        super().__init__((optimizer,))

    def own_settings(self) -> dict[str, float | bool]:
        return {"decay": self.decay, "warmup": self.warmup}

    def after(self) -> None:
        """Move the averages."""
        rule, rate, step = _RULE(self.decay, self.warmup), self.optimizers[0].rate_array, self._step
        for region, state, pieces in self._parts(0):
            self.backend.update(rule, state["average"], region.data, {}, lr=rate, step=step, pieces=pieces)

    @within("optimizer.averaged()")
    def averaged(self) -> Iterator[None]:
        """Within this, the model has the averages as its weights; training is refused.

        The weights come back to wherever the parameters are then, also where the model was moved meanwhile, or a new
        model was built of its layers, which shares them. What `copy.deepcopy` makes within keeps the averages.

        Yields
        ------
        None
            Until the ``with`` ends, which puts the weights back.
        """
        self._refuse("averaged")
        self._check_home()
        try:
            try:
                self._exchange(True)
                yield
            finally:
                self._put_back()
        finally:  # again: an interrupt may come between two lines of the first time
            self._put_back()

    def _put_back(self) -> None:
        """Put the weights back where the averages stand; an interrupt on the way waits until that is done."""
        interrupt = None
        while self._swapped:
            try:
                self._exchange(False)
            except KeyboardInterrupt as raised:
                interrupt = raised
        if interrupt is not None:
            raise interrupt

    def _apply(self, change: Callable[[], bool]) -> bool:
        self._refuse("step")
        return super()._apply(change)

    def __getstate__(self) -> dict[str, Any]:
        self._refuse("copy, or pickle")
        return super().__getstate__()

    def state_dict(self) -> dict[str, Any]:
        self._refuse("state_dict")
        return super().state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._refuse("load_state_dict")
        super().load_state_dict(state)

    def _refuse(self, what: str) -> None:
        if self._swapped:
            raise ArgumentError(f"{what}: got a call within averaged(); allowed: after it")

    def _exchange(self, swapped: bool) -> None:
        """Exchange weights and averages: all or none."""
        pairs = list(self._pairs())
        weights = Snapshot(self.backend, [weight for weight, _ in pairs])
        averages = Snapshot(self.backend, [average for _, average in pairs])
        moved = self._moved()
        touch_all(self.parameters)  # frozen ones too, whose averages were left behind
        try:
            for (weight, average), (_, kept) in zip(pairs, weights.kept, strict=True):
                self.backend.copy(average, out=weight)
                self.backend.copy(kept, out=average)
            for parameter, average, was, its in moved:
                self._set_moved(parameter, average, its, was)
            self._swapped = swapped
        except BaseException:
            weights.put_back()
            averages.put_back()
            for move in moved:
                self._set_moved(*move)
            self._swapped = not swapped
            raise
        finally:
            touch_all(self.parameters)

    def _pairs(self) -> Iterator[tuple[Array, Array]]:
        for region, state in zip(self._regions, self._states, strict=True):
            for begin, end in region.ranges(region.parameters):
                yield region.data[begin:end], state["average"][begin:end]

    def _moved(self) -> list[_Move]:
        """Return what lives elsewhere than when this was made."""
        return [
            (parameter, average, _on_host(parameter.arena.backend, parameter.array), _on_host(self.backend, average))
            for region, state in zip(self._regions, self._states, strict=True)
            for parameter in region.parameters
            if parameter.arena is not region.arena
            for average in [region.view(state["average"], parameter)]
        ]

    def _set_moved(self, parameter: Parameter, average: Array, weight: np.ndarray, its: np.ndarray) -> None:
        parameter.data = weight
        self.backend.copy(self.backend.asarray(its), out=average)


_Move = tuple[Parameter, Array, np.ndarray, np.ndarray]  # its average, and the values of both


def _on_host(backend: Backend, array: Array) -> np.ndarray:
    return np.array(backend.to_numpy(array))
