from __future__ import annotations

import os
import signal
import threading
import time
from contextvars import ContextVar

import pytest

from fastconv.parallel.lockstep import LockStep

_seen: ContextVar[str] = ContextVar("seen", default="")


def test_all_meet_in_their_order_and_one_runs_at_a_time():
    log = []
    steps: list[LockStep[int]] = []

    def function(number):
        def run():
            total = 0
            for meeting in range(3):
                log.append((meeting, number))
                total += steps[0].meet(number, 10**number, sum)
            return total

        return run

    turns = []
    steps.append(LockStep([function(number) for number in range(4)], turns.append))
    assert steps[0].run() == [3333] * 4
    assert log == [(meeting, number) for meeting in range(3) for number in range(4)]
    assert turns == [0, 1, 2, 3] * 4


def test_values_are_given_in_order():
    steps: list[LockStep[list]] = []
    functions = [lambda number=number: steps[0].meet(number, number, list) for number in range(3)]
    steps.append(LockStep(functions, lambda number: None))
    assert steps[0].run() == [[0, 1, 2]] * 3


def test_one_that_fails_ends_all():
    steps: list[LockStep[int]] = []

    def fails():
        raise ValueError("the reason")

    functions = [lambda: steps[0].meet(0, 1, sum), fails, lambda: steps[0].meet(2, 1, sum)]
    steps.append(LockStep(functions, lambda number: None))
    with pytest.raises(ValueError, match="the reason"):
        steps[0].run()


def test_an_interrupt_ends_all_before_it_is_told():
    # A test run in the background of a shell ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupted()
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted():
    steps: list[LockStep[int]] = []
    before, ended = threading.active_count(), []

    def function(number):
        def run():
            if number == 0:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)
            try:
                for _ in range(10**6):
                    steps[0].meet(number, 0, sum)
            finally:
                ended.append(number)
            return 0

        return run

    steps.append(LockStep([function(number) for number in range(2)], lambda number: None))
    with pytest.raises(KeyboardInterrupt):
        steps[0].run()
    assert 0 in ended
    assert threading.active_count() == before


def test_what_joins_may_fail_too():
    steps: list[LockStep[int]] = []
    functions = [lambda number=number: steps[0].meet(number, 0, lambda values: 1 // values[0]) for number in range(2)]
    steps.append(LockStep(functions, lambda number: None))
    with pytest.raises(ZeroDivisionError):
        steps[0].run()


def test_each_has_the_context_of_the_caller():
    _seen.set("outer")

    def run():
        before = _seen.get()
        _seen.set("inner")
        return before

    assert LockStep([run, run], lambda number: None).run() == ["outer"] * 2
    assert _seen.get() == "outer"
