"""One case of the comparison with the reference: what goes in, how the operation is called, how exact it must be."""

from __future__ import annotations

import inspect
import itertools
import math
import pkgutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np

from fastconv.backends import get_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.fused import FusedOperations
from fastconv.backends.contract.normalisation import Normalisations
from fastconv.backends.contract.types import Workspace
from tests.compare import assert_close

# Two factors, each rounded to 11 significant bits: the product is off by at most 2 * 2**-11 + 2**-22 of itself.
_TF32 = 2.0**-10 + 2.0**-22

Arrays = dict[str, np.ndarray]
Call = Callable[[Backend, Arrays, Arrays, Workspace], None]

# Those that are composed of others where a backend has no kernels for them.
FUSED = {
    name
    for cls in (FusedOperations, Normalisations)
    for name, value in vars(cls).items()
    if name[0] != "_" and inspect.isfunction(value)
} - {"batch_norm", "update_running_stats"}
OPERATIONS = Backend.__abstractmethods__ & {name for cls in Normalisations.__mro__ for name in vars(cls)} | FUSED

# The name of a case begins with what it is called with.
OF_A_LIST = ("activate", "activate_backward", "loss_and_grad", "update")

_GUARD = 1024  # bytes before and behind each array
_POISON = 0xFF  # in arrays at first: a float of these bytes is NaN, an index of these bytes is out of every range
# Around arrays lies what arithmetic changes, for a NaN would pass through it bit for bit: pairs of bytes that are huge
# floats of every width. They are of one sign where arrays are aligned, of the other where they are not: what comes of a
# rectifier or a maximum changes one of them, and what is read there by mistake shows in one of the results. The lower
# byte differs from array to array, so that a copy over the end shows.
_NEGATIVE, _POSITIVE = 0xF100, 0x7100
_LOWER_BYTES = itertools.cycle(range(0x60, 0x7F))


@dataclass(frozen=True)
class Case:
    """One call of one operation.

    Attributes
    ----------
    inputs : rng -> arrays
        float64 arrays are cast to the type under test; all others stay as they are.
    outputs : name -> shape, or (shape, dtype) for a type of its own
    call : backend, inputs, outputs, workspace -> None
    updated : names of inputs that the operation writes
    fixed : names of float64 inputs that stay float64
    terms : length of the sums
    magnitude : inputs, expected results -> name -> magnitude, for `assert_close`; what it leaves out is computed by the
        reference from the absolute values of the inputs
    rounded : whether the precision allows a GPU to round both factors of float32 products to tf32
    """

    op: str
    id: str
    inputs: Callable[[np.random.Generator], Arrays]
    outputs: dict[str, Any]
    call: Call
    updated: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    terms: int = 1
    magnitude: Callable[[Arrays, Arrays], dict[str, Any]] = field(default=lambda i, o: {})
    rounded: bool = False

    @property
    def kind(self) -> tuple[str, str]:
        """The operation, and which of the functions or rules of a list it is called with."""
        return self.op, self.id.partition("-")[0] if self.op in OF_A_LIST else ""

    def arrays(self, rng: np.random.Generator, dtype: Any) -> Arrays:
        """Return the inputs in the type under test."""
        made = self.inputs(rng)
        return {
            name: a.astype(dtype) if a.dtype == np.float64 and name not in self.fixed else a for name, a in made.items()
        }

    def run(
        self, backend: Backend, arrays: Arrays, dtype: Any, *, offset: int = 0, make: Callable[..., None] | None = None
    ) -> Arrays:
        """Call the operation on poisoned, guarded memory and return what it wrote.

        The arrays begin `offset` elements behind a 64-byte boundary. Fails if an input changed, or a byte outside the
        results and the scratch that it was given or took. `make` calls the operation, given a function without
        arguments that does, and all arrays.
        """
        make_guarded = partial(Guarded, backend, offset=offset, positive=offset > 0)
        guarded = {name: make_guarded(a.shape, a.dtype) for name, a in arrays.items()}
        for name, a in arrays.items():
            guarded[name].array[...] = backend.asarray(a)
        for name, spec in self.outputs.items():
            shape, out_dtype = spec if spec and isinstance(spec[0], tuple) else (spec, dtype)
            guarded[name] = make_guarded(shape, np.dtype(out_dtype))
        given = {name: guarded[name].array for name in arrays}
        results = {name: guarded[name].array for name in self.outputs}
        workspace = PoisonedWorkspace(backend, positive=offset > 0)
        call = partial(self.call, backend, given, results, workspace)
        with guarded_scratch(backend, positive=offset > 0):
            if make is None:
                call()
            else:
                make(call, guarded)
        workspace.inspect()
        after = {name: block.contents() for name, block in guarded.items()}
        for name, a in arrays.items():
            if name not in self.updated:
                assert after[name].tobytes() == a.tobytes(), f"{name}: an input was changed"
        return {name: after[name] for name in (*self.outputs, *self.updated)}

    def reference(self, arrays: Arrays) -> tuple[Arrays, dict[str, Any]]:
        """Return the results of the NumPy backend in float64, and their magnitudes."""
        wide = {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in arrays.items()}
        numpy_backend = get_backend("numpy")
        expected = self.run(numpy_backend, wide, np.float64)
        magnitude = self.magnitude(wide, expected)
        if set(magnitude) != set(expected):
            absolute = {name: np.abs(a) if a.dtype.kind == "f" else a for name, a in wide.items()}
            magnitude = self.run(numpy_backend, absolute, np.float64) | magnitude
        return expected, magnitude


def check(case: Case, backend: Backend, dtype: str, products: float = 0) -> Arrays:
    """Run a case twice, on memory aligned differently: right both times, and the same bits. Return the results.

    Each product may be off by the share `products` of itself, on a GPU also as the precision allows.
    """
    arrays = case.arrays(np.random.default_rng(zlib.crc32(f"{case.op}-{case.id}".encode())), dtype)
    first = case.run(backend, arrays, dtype)
    second = case.run(backend, arrays, dtype, offset=1)
    expected, magnitude = case.reference(arrays)
    for name, value in first.items():
        assert_close(
            value,
            expected[name],
            dtype=value.dtype,
            terms=case.terms,
            magnitude=magnitude[name],
            products=_TF32 if case.rounded and dtype == "float32" and not backend.on_host else products,
            what=name,
        )
        assert second[name].tobytes() == value.tobytes(), f"{name}: other bits on memory aligned differently"
    return first


def check_captured(case: Case, backend: Backend, dtype: str) -> None:
    """Capture a case and replay it: nothing is computed before, and the bits are those of the operation itself.

    What is not finite may ask for a kernel that cannot be captured, or end the replay; then nothing more is asked.
    """
    arrays = case.arrays(np.random.default_rng(zlib.crc32(f"{case.op}-{case.id}".encode())), dtype)
    complete = []

    def capture(call: Callable[[], None], guarded: dict[str, Guarded]) -> None:
        before = {name: block.contents().tobytes() for name, block in guarded.items()}
        replay = backend.capture(call)
        for name, block in guarded.items():
            assert block.contents().tobytes() == before[name], f"{name}: computed at the capture"
        complete.append(replay is not None and replay())

    want = case.run(backend, arrays, dtype)
    got = case.run(backend, arrays, dtype, make=capture)
    if complete == [True]:
        for name, value in want.items():
            assert got[name].tobytes() == value.tobytes(), f"{name}: other bits when replayed"
    else:
        assert not all(np.isfinite(a).all() for a in (*arrays.values(), *want.values())), "not captured"


def exact(inputs: Arrays, expected: Arrays) -> dict[str, Any]:
    """Ask for equality: for operations that compare or move numbers."""
    return dict.fromkeys(expected, 0)


class Guarded:
    """An array of a backend with poison before, in and behind it; `offset` elements behind a 64-byte boundary.

    The poison around it is negative, or `positive`.
    """

    def __init__(
        self, backend: Backend, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int = 0, *, positive: bool = False
    ) -> None:
        nbytes = math.prod(shape) * dtype.itemsize
        self._backend = backend
        word = (_POSITIVE if positive else _NEGATIVE) + next(_LOWER_BYTES)
        around = np.full((nbytes + 2 * _GUARD + 130) // 2, word, "<u2").view(np.uint8)
        self._bytes = backend.asarray(around.copy())
        aligned = -(-(_address(self._bytes) + _GUARD) // 64) * 64 - _address(self._bytes)
        self._begin = aligned + offset * dtype.itemsize
        self._end = self._begin + nbytes
        self._bytes[self._begin : self._end] = _POISON
        self._before, self._behind = around[: self._begin], around[self._end :]
        self.array = self._bytes[self._begin : self._end].view(dtype).reshape(shape)

    def inspect(self) -> None:
        """Fail if anybody wrote beside the array."""
        everything = self._backend.to_numpy(self._bytes)
        assert np.array_equal(everything[: self._begin], self._before), "memory before an array was written"
        assert np.array_equal(everything[self._end :], self._behind), "memory behind an array was written"

    def contents(self) -> np.ndarray:
        """Return the array's values; fails if anybody wrote beside it."""
        self.inspect()
        return self._backend.to_numpy(self.array)


def _address(array: Any) -> int:
    """Where an array of the CPU or of CuPy begins."""
    return array.data.ptr if hasattr(array.data, "ptr") else array.ctypes.data


class PoisonedWorkspace:
    """Scratch memory that is NaN at first, and guarded: `inspect` fails if anybody wrote beside what it gave."""

    def __init__(self, backend: Backend, *, positive: bool = False) -> None:
        self._backend, self._positive = backend, positive
        self._guards: list[Guarded] = []

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        self._guards.append(Guarded(self._backend, shape, np.dtype(dtype), positive=self._positive))
        return self._guards[-1].array

    def release(self) -> int:
        """Keep what was given: nothing of it is idle. Return how many bytes went back to the system."""
        return 0

    def inspect(self) -> None:
        """Fail if anybody wrote beside the memory given since the last time."""
        guards, self._guards = self._guards, []
        for guard in guards:
            guard.inspect()


@contextmanager
def guarded_scratch(backend: Backend, *, positive: bool = False) -> Iterator[None]:
    """Guard the scratch that an operation takes itself: of the CPU's kernels, and of a pool that is poisoned."""
    with ExitStack() as patched:
        if backend.name == "numba":
            taken = PoisonedWorkspace(backend, positive=positive)
            for module in _modules_with_scratch():
                patched.enter_context(patch.object(module, "line_bytes", lambda count: taken.empty((count,), np.uint8)))
            patched.callback(taken.inspect)
        yield
    pool = getattr(backend, "pool", None)
    if isinstance(pool, PoisonedWorkspace):
        pool.inspect()


@cache
def _modules_with_scratch() -> list[ModuleType]:
    """Return the modules of the CPU's kernels that take scratch themselves."""
    import fastconv.kernels.cpu as package

    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    modules = (import_module(module.name) for module in found)
    return [module for module in modules if hasattr(module, "line_bytes")]
