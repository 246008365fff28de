"""The comparison with the reference notices what it is for: faults of the kinds that kernels have, planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fastconv.backends import get_backend, use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Workspace
from tests.backends.op_case import Arrays, Case, PoisonedWorkspace, check, exact

SIZE, VECTOR = 37, 16


def _vectors(array: np.ndarray) -> np.ndarray:
    """The array as whole vectors, the last of which ends behind it."""
    return as_strided(array, (-(-SIZE // VECTOR) * VECTOR,), array.strides)


def _one_before(array: np.ndarray) -> np.ndarray:
    """The element before the array."""
    interface = array.__array_interface__

    class Place:
        __array_interface__ = interface | {"data": (interface["data"][0] - array.itemsize, False), "shape": (1,)}

    return np.asarray(Place())


def _sgd(p: np.ndarray, g: np.ndarray, *rest: np.ndarray) -> None:
    p -= p.dtype.type(0.1) * g


def _momentum(p: np.ndarray, g: np.ndarray, v: np.ndarray) -> None:
    v *= v.dtype.type(0.9)
    v += g
    p -= p.dtype.type(0.01) * v


def _rectify(p: np.ndarray, *rest: np.ndarray) -> None:
    np.maximum(p, 0, out=p)


def _clip_below(p: np.ndarray, *rest: np.ndarray) -> None:
    np.minimum(p, 0, out=p)


def _copy(p: np.ndarray, g: np.ndarray, *rest: np.ndarray) -> None:
    p[...] = g


def _scale(p: np.ndarray, *rest: np.ndarray) -> None:
    p *= 2


def _clear(p: np.ndarray, *rest: np.ndarray) -> None:
    p[...] = 0


IN_PLACE = (_sgd, _momentum, _rectify, _clip_below, _copy, _scale, _clear)


def _in_place(update: Callable[..., None], reach: Callable[[np.ndarray], np.ndarray]) -> Case:
    """An update in place; the backend numba's has the fault."""

    def call(backend: Backend, i: Arrays, o: Arrays, workspace: Workspace) -> None:
        arrays = [i[name] for name in ("p", "g", "v")]
        update(*(arrays if backend.name == "numpy" else map(reach, arrays)))

    return Case(
        "planted",
        update.__name__,
        lambda rng: {name: np.abs(rng.standard_normal(SIZE)) for name in ("p", "g", "v")},
        {},
        call,
        updated=("p", "g", "v"),
        magnitude=lambda i, expected: dict.fromkeys(expected, 4),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("update", IN_PLACE)
def test_an_update_in_place_over_the_end_is_noticed(update: Callable[..., None], dtype: str) -> None:
    backend = get_backend("numba")
    check(_in_place(update, lambda a: a), backend, dtype)
    with pytest.raises(AssertionError, match="behind an array"):
        check(_in_place(update, _vectors), backend, dtype)


def _reading(read: Callable[[np.ndarray], Any]) -> Case:
    """A reduction that reads one element more."""

    def call(backend: Backend, i: Arrays, o: Arrays, workspace: Workspace) -> None:
        x = i["x"]
        o["y"][...] = read(x if backend.name == "numpy" else as_strided(x, (SIZE + 1,)))

    inputs = {"x": np.linspace(-1, 1, SIZE)}
    return Case("planted", read.__name__, lambda rng: inputs, {"y": (1,)}, call, terms=SIZE)


@pytest.mark.parametrize("read", [np.sum, np.max, np.min, np.mean, np.count_nonzero])
def test_what_is_read_behind_an_array_changes_the_result(read: Callable[[np.ndarray], Any]) -> None:
    with pytest.raises(AssertionError):
        check(_reading(read), get_backend("numba"), "float32")


def _with_scratch(use: Callable[[Backend, Workspace], None]) -> Case:
    def call(backend: Backend, i: Arrays, o: Arrays, workspace: Workspace) -> None:
        np.multiply(i["x"], 2, out=o["y"])
        if backend.name == "numba":
            use(backend, workspace)

    return Case("planted", "scratch", lambda rng: {"x": rng.standard_normal(5)}, {"y": (5,)}, call, magnitude=exact)


def _rows_over_the_end(backend: Backend, workspace: Workspace) -> None:
    from fastconv.kernels.cpu.runtime.launch import thread_rows

    rows = thread_rows(64, np.float32)
    as_strided(rows, (len(rows) + 1, rows.shape[1]))[len(rows)] = 0


def _sums_over_the_end(backend: Backend, workspace: Workspace) -> None:
    from fastconv.kernels.cpu.elementwise import finite

    _vectors(finite.line_bytes(SIZE))[-1] = 0


FAULTS = {
    "behind the workspace": lambda backend, workspace: _vectors(workspace.empty((SIZE,), np.float32)).fill(0),
    "before the workspace": lambda backend, workspace: _one_before(workspace.empty((SIZE,), np.float32)).fill(0),
    "behind the pool's": lambda backend, workspace: _vectors(backend.empty((SIZE,), np.float64)).fill(0),
    "a row for one thread more": _rows_over_the_end,
    "behind the kernels' own": _sums_over_the_end,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_scratch_written_over_its_ends_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("numba") as backend:
        monkeypatch.setattr(backend, "pool", PoisonedWorkspace(backend))

        def within(backend: Backend, workspace: Workspace) -> None:
            workspace.empty((SIZE,), np.float32).fill(0)
            backend.empty((SIZE,), np.float64).fill(0)

        check(_with_scratch(within), backend, "float32")
        with pytest.raises(AssertionError, match="an array was written"):
            check(_with_scratch(FAULTS[fault]), backend, "float32")


def test_scratch_and_results_are_nan_at_first() -> None:
    backend, seen = get_backend("numba"), []

    def look(backend: Backend, workspace: Workspace) -> None:
        seen.append(workspace.empty((3,), np.float32).copy())

    check(_with_scratch(look), backend, "float32")
    assert all(np.isnan(found).all() for found in seen)
    assert seen


def test_a_result_that_is_left_out_is_noticed() -> None:
    def call(backend: Backend, i: Arrays, o: Arrays, workspace: Workspace) -> None:
        o["y"][: 4 if backend.name == "numba" else 5] = 1

    case = Case("planted", "left-out", lambda rng: {}, {"y": (5,)}, call, magnitude=exact)
    with pytest.raises(AssertionError):
        check(case, get_backend("numba"), "float32")
