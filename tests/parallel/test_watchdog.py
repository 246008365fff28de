from __future__ import annotations

import threading

import numpy as np
import pytest

from fastconv.errors import ArgumentError
from fastconv.parallel import SingleProcess
from fastconv.parallel.watchdog import TIMEOUT_VARIABLE, Watched, seconds_allowed


class _Waiting(SingleProcess):
    """A rank whose barrier does not come to an end before the job does."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.codes: list[int] = []

    def barrier(self) -> None:
        assert self.ended.wait(30)

    def abort(self, code: int = 1) -> None:
        self.codes.append(code)
        self.ended.set()


def test_a_call_that_takes_too_long_ends_the_job(capfd):
    inner = _Waiting()
    watched = Watched(inner, 0.2)
    watched.allreduce(np.ones(1))
    watched.broadcast(np.ones(1))
    assert not inner.codes
    watched.barrier()
    assert inner.codes[0] == 1
    said = capfd.readouterr().err
    assert "rank 0 of 1 has waited 0.2 s for the others in barrier" in said
    assert "test_watchdog.py" in said


def test_time_between_calls_does_not_count():
    inner = _Waiting()
    watched = Watched(inner, 0.05)
    assert not inner.ended.wait(0.5)
    watched.allreduce(np.ones(1))


def test_watching_ends_with_the_watched():
    before = set(threading.enumerate())
    watched = Watched(SingleProcess(), 3600)
    (thread,) = set(threading.enumerate()) - before
    del watched
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_the_variable_is_a_number_of_seconds(monkeypatch, text):
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    with pytest.raises(ArgumentError, match=TIMEOUT_VARIABLE):
        seconds_allowed()


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch):
    monkeypatch.setenv(TIMEOUT_VARIABLE, "")
    assert seconds_allowed() == 0
