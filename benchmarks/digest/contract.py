"""Digests of the cases of the contract tests."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import fastconv as fc
from benchmarks.digest.hashing import SEED, Digests, compute


class Insisting:
    """A backend whose operations are called with one precision, whatever the case says."""

    def __init__(self, backend: Any, precision: str) -> None:
        self._backend, self._precision = backend, precision
        self.asked = False

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._backend, name)
        return self._insist(value) if callable(value) else value

    def _insist(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            if "precision" in settings:
                self.asked, settings["precision"] = True, self._precision
            return operation(*map(self._value, arguments), **{k: self._value(v) for k, v in settings.items()})

        return call

    def _value(self, value: Any) -> Any:
        """Return a record with a precision with the one insisted on."""
        if not dataclasses.is_dataclass(value) or not hasattr(value, "precision"):
            return value
        self.asked = True
        same = value.precision == self._precision
        return value if same else dataclasses.replace(value, precision=self._precision)


def contract_cases() -> list[Any]:
    """Return the cases of the contract, wherever under tests/backends they are."""
    package = importlib.import_module("tests.backends")
    found: dict[tuple[str, str], Any] = {}
    for info in pkgutil.walk_packages(package.__path__, "tests.backends."):
        place = info.name.removeprefix("tests.backends.")
        if place.startswith("cases"):
            for case in getattr(importlib.import_module(info.name), "CASES", ()):
                found.setdefault((case.op, case.id), case)
    return list(found.values())


def contract(name: str, precisions: Iterable[str], threads: Iterable[int], dtypes: Iterable[str]) -> Digests:
    """Digest of every case; in precisions other than the default only of those that ask for one.

    On the CPU convolutions are computed by Winograd too, which only large ones take by themselves.
    """
    found: Digests = {}
    cases = contract_cases()
    convolutions = [case for case in cases if "conv2d" in case.op]
    with fc.use_backend(name) as backend:
        for precision in precisions:
            with fc.precision(precision):  # an error where the backend does not have it
                for count, dtype in ((t, d) for t in threads for d in dtypes):
                    found |= _contract(backend, cases, precision, count, dtype)
                if name == "numba" and precision != "strict":
                    with fc.algorithm("winograd"):
                        more = _contract(backend, convolutions, precision, 2, "float32")
                    found |= {f"winograd {key}": value for key, value in more.items()}
    return found


def _contract(backend: Any, cases: Iterable[Any], precision: str, threads: int, dtype: str) -> Digests:
    found: Digests = {}
    fc.set_num_threads(threads)
    for case in cases:
        insisting = Insisting(backend, precision)
        arrays = case.arrays(np.random.default_rng(SEED), dtype)
        value = compute(arrays.values(), lambda c=case, b=insisting, a=arrays: c.run(b, a, dtype).values())
        if insisting.asked or precision == "default":
            found[f"{backend.name} {precision} {threads} {dtype} {case.op}-{case.id}"] = value
    return found
