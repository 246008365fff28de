"""One thread at a time trains a model: gradients, the optimizer's state and counters are one for all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fastconv.errors import ArgumentError
from fastconv.kernels.locks import ForkSafeLock
from fastconv.nn.core.parameter import Parameter
from fastconv.nn.core.parameters import Parameters
from fastconv.nn.model.model import Layer

_guard = ForkSafeLock()
_trained: dict[Parameter, threading.Thread] = {}


@contextmanager
def alone(model: Layer) -> Iterator[None]:
    """Within this the thread trains the parameters of a model; ArgumentError if another one trains some of them.

    The same thread may do so again within, as a callback may that trains the model in another way for a while. A thread
    that has ended, such as all others of a process that was forked, trains nothing.
    """
    new: list[Parameter] = []
    try:
        try:
            _take(model.parameters(), new)
            yield
        finally:
            _leave(new)
    finally:  # again: an interrupt may come before the first time, or within
        _leave(new)


def _take(parameters: Parameters, new: list[Parameter]) -> None:
    """Note that this thread trains these; `new` gets those that it did not before."""
    own = threading.current_thread()
    with _guard:
        taken = [_trained.get(parameter) for parameter in parameters]
        other = next((thread for thread in taken if thread not in (None, own) and thread.is_alive()), None)
        if other is not None:
            raise ArgumentError(
                f"model: got one that the thread {other.name!r} trains; allowed: one thread at a time, or a copy each"
            )
        new += [parameter for parameter, thread in zip(parameters, taken, strict=True) if thread is not own]
        _trained.update(dict.fromkeys(new, own))


def _leave(parameters: list[Parameter]) -> None:
    """Note that this thread trains these no longer; another one may have begun to since it left them before."""
    own = threading.current_thread()
    with _guard:
        for parameter in parameters:
            if _trained.get(parameter) is own:
                del _trained[parameter]
