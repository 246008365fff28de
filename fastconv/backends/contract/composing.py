"""How the operations of a backend and their composition of parts come together."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from fastconv.backends.contract.checking import CHECKS
from fastconv.backends.contract.normalisation import Normalisations
from fastconv.kernels.epilogue import Epilogue, Native
from fastconv.kernels.pointwise import Activation


class Composing:
    """An operation of a backend whose kernels do the epilogues in `native`; `Normalisations` composes all others.

    Stands in the body of the backend's class under the operation's name. What `run` is, that class would have there.
    Without `native`, `run` has nothing of epilogues among its parameters.
    """

    def __init__(self, run: Any, native: Native | None = None) -> None:
        self._run, self._native = run, native or Native()
        self._takes = None if native else frozenset(inspect.signature(run).parameters)

    def __set_name__(self, owner: type[Normalisations], name: str) -> None:
        self._composed, self._check = getattr(Normalisations, name), CHECKS.get(name)

    def __get__(self, backend: Normalisations | None, owner: type[Normalisations]) -> Any:
        if backend is None and self._takes:
            return partial(self._composed)  # not the abstract method itself
        run = self._run.__get__(backend, owner)
        return run if backend is None else partial(self._call, run, backend)

    def _call(self, run: Callable[..., None], backend: Normalisations, *arrays: Any, **more: Any) -> None:
        if self._check is not None:
            self._check(*arrays, **more)
        if asked(arrays, more) not in self._native or (more.get("before") is not None and not self._native.keeps):
            self._composed(backend, *arrays, **more)
        elif self._takes is None:
            run(*arrays, **more)
        else:
            plain = (array for array in arrays if not isinstance(array, Epilogue))
            run(*plain, **{name: array for name, array in more.items() if name in self._takes})


def asked(arrays: tuple[Any, ...], more: Mapping[str, Any]) -> Epilogue:
    """Return the epilogue that an operation is called with; or what it goes back through, as one."""
    for given in (*arrays, more.get("epilogue")):
        if isinstance(given, Epilogue):
            return replace(given, windows=given.windows or more.get("windows"))
        if isinstance(given, Activation):
            return Epilogue(activation=given)
    return Epilogue(more.get("addend") is not None, more.get("activation"))
