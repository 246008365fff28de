"""Locks in forked processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest

pytest.importorskip("numba")
from numba.core.compiler_lock import global_compiler_lock

import fastconv as fc
from fastconv.kernels import locks
from fastconv.kernels.locks import ForkSafeLock
from tests.interrupts import every_place


def in_child(work: Callable[[], object]) -> int:
    """Return how a forked process ends that does this: 0, or the negative signal of its deadline."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Holder:
    """A thread that holds a lock until the end of a ``with``."""

    def __init__(self, lock: ForkSafeLock) -> None:
        self._lock, self._held, self._leave = lock, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold)

    def _hold(self) -> None:
        with self._lock:
            self._held.set()
            self._leave.wait(60)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._held.wait(60)

    def __exit__(self, *_: object) -> None:
        self._leave.set()
        self._thread.join()


def take(lock: AbstractContextManager[object]) -> None:
    with lock:
        pass


def test_what_another_thread_holds_is_open_in_a_child():
    lock = ForkSafeLock()
    with Holder(lock):
        assert in_child(lambda: take(lock)) == 0


def test_what_the_forking_thread_holds_stays_held_by_it():
    lock = ForkSafeLock()

    def leave() -> None:
        lock.__exit__()
        take(lock)

    with lock:
        assert in_child(leave) == 0


def test_an_interrupt_leaves_no_lock_held():
    """Between taking it and the block that leaves it again: all other threads waited for ever."""
    lock = ForkSafeLock()

    def look(broken: bool) -> None:
        assert not lock._is_owned()

    every_place(lambda: take(lock), lambda: None, look, where=(locks.__file__,), instructions=True)


def test_threads_take_turns():
    lock, inside = ForkSafeLock(), threading.Event()
    with Holder(lock):
        other = threading.Thread(target=lambda: (lock.__enter__(), inside.set(), lock.__exit__()))
        other.start()
        assert not inside.wait(0.05)
    other.join()
    assert inside.is_set()


def test_a_child_runs_a_plan_that_another_thread_runs():
    plan = fc.nn.Sequential(fc.nn.Dense(3)).build((4,)).compile((2, 4))
    x = np.ones((2, 4), np.float32)
    right = plan(x)
    with Holder(plan._lock):
        assert in_child(lambda: np.testing.assert_array_equal(plan(x), right)) == 0


def test_forking_waits_for_what_is_compiled():
    held = threading.Event()

    def compile_something() -> None:
        with global_compiler_lock:
            held.set()
            time.sleep(0.1)

    thread = threading.Thread(target=compile_something)
    thread.start()
    assert held.wait(60)
    assert in_child(lambda: take(global_compiler_lock)) == 0
    thread.join()
    take(global_compiler_lock)


@pytest.mark.parametrize("module", ["fastconv.backends", "fastconv.kernels.cpu.conv.autotune"])
def test_locks_of_the_process(module: str):
    lock = __import__(module, fromlist=["_lock"])._lock
    with Holder(lock):
        assert in_child(lambda: take(lock)) == 0
