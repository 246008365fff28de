"""Every operation of every backend, compared with the NumPy reference in float64.

Choose with -k: ``-k "numba and conv2d_backward_weight"``. The cases are those of cases/.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv.algorithm import algorithm
from fastconv.backends import use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import AlgorithmChoice
from fastconv.errors import UnsupportedError
from fastconv.kernels.epilogue import Epilogue
from fastconv.kernels.losses import ChosenLoss
from fastconv.kernels.pointwise import Activation
from fastconv.kernels.update_rules import Update
from tests.backends import cases as case_files
from tests.backends.cases import CASES
from tests.backends.cases.fused import by_rarity, is_rare
from tests.backends.op_case import OPERATIONS, Case, PoisonedWorkspace, check, check_captured
from tests.conftest import CPU_BACKENDS

ONE_OF_EACH = list({case.kind: case for case in reversed(CASES) if "empty" not in case.id}.values())
CONVOLUTIONS = [case for case in CASES if case.op.startswith("conv2d")]

OTHERS = [name for name in CPU_BACKENDS if name != "numpy"]  # than the reference

# Cases in which a backend may raise UnsupportedError, as (backend, operation, case). Each must be argued for here.
UNSUPPORTED: frozenset[tuple[str, str, str]] = frozenset()

# Each type is compiled for itself: the rare functions behind other operations are computed in one of them.
COMMON = [case for case in CASES if not is_rare(case)]


def _typed(dtype: str, cases: list[Case]) -> list[Any]:
    """Return cases and their type as parameters; in the default suite float64 is that of gradient checks."""

    def is_slow(case: Case) -> bool:
        return is_rare(case) or dtype == "float64"

    return [
        pytest.param(case, dtype, id=f"{case.op}-{case.id}-{dtype}", marks=[pytest.mark.slow] * is_slow(case))
        for case in cases
    ]


# Called by each case of an operation that takes such a weight.
PREPARATIONS = {"prepare_conv2d_weight", "prepare_dense_weight"}


@pytest.mark.parametrize(("case", "dtype"), [*_typed("float32", CASES), *_typed("float64", COMMON)])
@pytest.mark.parametrize("backend", OTHERS, indirect=True)
def test_matches_reference(case: Case, dtype: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right, whatever was in the memory before and however it is aligned; the same bits twice; inputs untouched."""
    monkeypatch.setattr(backend, "pool", PoisonedWorkspace(backend))
    if (backend.name, case.op, case.id) in UNSUPPORTED:
        with pytest.raises(UnsupportedError):
            check(case, backend, dtype)
        return
    check(case, backend, dtype)


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: f"{case.op}-{case.id}")
def test_reference_stays_within_its_arrays(case: Case) -> None:
    """The same bits twice, float32 as float64; whether they are right is shown elsewhere (test_reference.py)."""
    with use_backend("numpy") as backend:
        check(case, backend, "float32")


@pytest.mark.parametrize("case", by_rarity(CONVOLUTIONS, rare={"gelu", "max_pool2d", "5x5"}, one_in=4))
def test_winograd_matches_reference_where_there_are_few_tiles_too(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most cases are too small for it to be chosen."""
    with use_backend("numba") as backend, algorithm("winograd"):
        monkeypatch.setattr(backend, "pool", PoisonedWorkspace(backend))
        check(case, backend, "float32")


@pytest.mark.parametrize("rare", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["common", "rare"])
@pytest.mark.parametrize("op", sorted({case.op for case in CASES}))
def test_captured_gives_the_same_bits(op: str, rare: bool) -> None:
    with use_backend("numba") as backend:
        for case in CASES:
            if (case.op, is_rare(case)) == (op, rare):
                try:
                    check_captured(case, backend, "float32")
                except AssertionError as error:
                    error.add_note(case.id)
                    raise


@pytest.mark.parametrize(
    ("op", "name"),
    [(op, "shapes") for op in sorted({case.op for case in CASES})]
    + [
        pytest.param(op, "winograd", marks=[pytest.mark.slow] * (op not in ("conv2d", "conv2d_backward_weight")))
        for op in sorted({case.op for case in CONVOLUTIONS})
    ],
)
def test_same_bits_with_any_number_of_threads(op: str, name: AlgorithmChoice) -> None:
    cases = [case for case in CASES if case.op == op and not is_rare(case)]
    results: dict[int, list[dict[str, bytes]]] = {}
    with use_backend("numba") as backend, algorithm(name):
        before = backend.num_threads
        try:
            for threads in (1, 2, 4):
                backend.set_num_threads(threads)
                found = [
                    case.run(backend, case.arrays(np.random.default_rng(3), "float32"), "float32") for case in cases
                ]
                results[threads] = [{name: a.tobytes() for name, a in outs.items()} for outs in found]
        finally:
            backend.set_num_threads(before)
    for threads in (2, 4):
        for case, one, several in zip(cases, results[1], results[threads], strict=True):
            assert one == several, f"{case.id}: other bits with {threads} threads"


def test_every_operation_has_cases() -> None:
    assert {case.op for case in CASES} == OPERATIONS - PREPARATIONS


class _Listener:
    """Stands for a backend and notes the settings that its operations are called with."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **settings: self.heard.append(_settings(arguments) | settings)


def _settings(arguments: tuple[Any, ...]) -> dict[str, float]:
    """Return the values of a function's parameters, or of a rule's settings."""
    found = {}
    for given in arguments:
        given = given.activation if isinstance(given, Epilogue) else given
        if isinstance(given, Activation | ChosenLoss | Update):
            scalars = given.rule.settings if isinstance(given, Update) else given.function.parameters
            found |= {scalar.name: value for scalar, value in zip(scalars, given.values, strict=True)}
    return found


def test_every_operation_is_asked_for_two_values_of_each_setting() -> None:
    """One that is always the same may be built in, and no comparison notices."""
    found: dict[tuple[str, str, str], set[float]] = defaultdict(set)
    for case in CASES:
        listener = _Listener()
        case.call(listener, case.inputs(np.random.default_rng(0)), defaultdict(lambda: np.empty(0)), None)
        for settings in listener.heard:
            for name, value in settings.items():
                if isinstance(value, int | float):
                    found[*case.kind, name].add(value)
    assert ("normalise", "", "eps") in found
    assert ("activate", "elu", "alpha") in found
    assert not {place: values for place, values in found.items() if len(values) < 2}


def test_every_file_of_cases_is_registered() -> None:
    for found in pkgutil.iter_modules(case_files.__path__):
        listed = importlib.import_module(f"{case_files.__name__}.{found.name}").CASES
        assert listed
        assert set(map(id, listed)) <= set(map(id, CASES)), found.name


def test_case_names_are_unique() -> None:
    names = [(case.op, case.id) for case in CASES]
    assert len(names) == len(set(names))


def test_no_case_is_unsupported() -> None:
    assert frozenset() == UNSUPPORTED
