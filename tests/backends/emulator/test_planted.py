"""Tests of the tests: the suite of the emulator fails for every bug that is planted in a kernel."""

from __future__ import annotations

import pytest

from tests.backends.emulator.emulated import emulator_or_skip, planted
from tests.backends.emulator.planted import SIMPLE, TENSOR, Bug
from tests.backends.emulator.test_ops import CASES, check_in_every_order
from tests.backends.op_case import PoisonedWorkspace

pytestmark = pytest.mark.emulator


@pytest.mark.parametrize("bug", [*SIMPLE, *TENSOR], ids=lambda bug: bug.name)
def test_planted_bug_is_noticed(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = emulator_or_skip()
    monkeypatch.setattr(backend, "pool", PoisonedWorkspace(backend))
    (case,) = (case for case in CASES if (case.op, case.id) == (bug.op, bug.case))
    check_in_every_order(case, backend, bug.dtype)
    with planted(bug), pytest.raises(Exception) as caught:
        check_in_every_order(case, backend, bug.dtype)
    assert isinstance(caught.value, (AssertionError, RuntimeError)), caught.value
