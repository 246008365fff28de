"""The CUDA kernels, run by the emulator: every case of the contract in every order of threads.

Cases and checks are those of the other backends. An order only says which thread runs first between two barriers: where
results depend on it, the kernel lacks a barrier or adds without an order.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastconv.backends.contract.backend import Backend
from fastconv.kernels.losses import LOSSES
from tests.backends.cases import CASES
from tests.backends.cases import losses as cases_losses
from tests.backends.emulator.emulated import emulator_or_skip, running
from tests.backends.op_case import Case, PoisonedWorkspace, check, check_captured

# Order of the threads, when asynchronous copies land, and how many blocks share a loop over elements or rows; None: as
# many as the shape asks for.
RUNS = (
    ("forward", "lazy", None),
    ("reverse", "eager", 1),
    ("skewed:1", "lazy", 2),
    ("skewed:2", "eager", 2),
)
# One case of each kind, ragged where there is one.
SMOKE = list({case.kind: case for case in reversed(CASES) if "empty" not in case.id}.values())
COMPOSED = {"conv2d_backward_input_norm", "conv2d_max_pool2d_backward", "conv2d_statistics"}
FIRST = list({case.op: case for case in reversed(SMOKE) if case.op not in COMPOSED}.values())[::16]


def _name(case: Case) -> str:
    return f"{case.op}-{case.id}"


def check_in_every_order(case: Case, backend: Backend, dtype: str) -> None:
    """Check a case in each of RUNS: right every time, and the same bits.

    Of the cases that differ in their function alone those of GELU stand for all, and the others are run once. In
    float64, with the barriers of float32, two orders show whether a sum depends on them.
    """
    results = []
    once = "-small-" in case.id and "gelu" not in case.id
    runs = RUNS[2:3] if once else RUNS if dtype == "float32" else RUNS[1:3]
    for order, copies, blocks in runs:
        with running(order=order, copies=copies, blocks=blocks):
            results.append(check(case, backend, dtype))
    for (order, copies, blocks), result in zip(runs, results, strict=True):
        for name, value in result.items():
            same = value.tobytes() == results[0][name].tobytes()
            assert same, f"{name}: other bits in the order {order}, {copies}, on {blocks} blocks"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The emulator with a poisoned pool."""
    made = emulator_or_skip()
    monkeypatch.setattr(made, "pool", PoisonedWorkspace(made))
    return made


# Of the default suite: some, as each compiles a kernel or more. All in every order are below.
@pytest.mark.parametrize("case", FIRST, ids=_name)
def test_one_case_of_some_operations(case: Case, backend: Backend) -> None:
    with running(order="reverse"):
        check(case, backend, "float32")


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 8, 13])
@pytest.mark.parametrize("classes", [1, 10, 33])
def test_losses_stay_within_any_number_of_rows(rows: int, classes: int, backend: Backend) -> None:
    """A block has four rows and a warp 32 lanes; every access is checked."""
    with running(order="reverse", checks=True):
        check(cases_losses.correct("sizes", rows, classes), backend, "float32")
        check(cases_losses.cost(LOSSES["softmax_cross_entropy"](), "sizes", rows, classes), backend, "float32")


# The sources are those of float32 with another word, so in float64 every fourth case, and one of each kind, will do.
WIDE = [case for number, case in enumerate(CASES) if number % 4 == 0 or case in SMOKE]


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{_name(case)}-{dtype}")
        for dtype, cases in (("float32", CASES), ("float64", WIDE))
        for case in cases
    ],
)
def test_every_case_in_every_order(case: Case, dtype: str, backend: Backend) -> None:
    check_in_every_order(case, backend, dtype)


@pytest.mark.emulator
@pytest.mark.parametrize("case", SMOKE, ids=_name)
def test_captured_gives_the_same_bits(case: Case, backend: Backend) -> None:
    check_captured(case, backend, "float32")


@pytest.mark.emulator
@pytest.mark.parametrize("case", SMOKE, ids=_name)
def test_no_race_and_no_access_outside_an_array(case: Case, backend: Backend) -> None:
    with running(order="forward", checks=True):
        check(case, backend, "float32")
