"""Helpers of the thread team: late ones, dismissed ones, interrupted callers; what is claimed and by whom."""

import functools
import sys
import threading
import time

import numba
import numpy as np
import pytest

from fastconv.kernels.cpu.runtime import launch as launching
from fastconv.kernels.cpu.runtime.launch import launch, set_num_threads
from fastconv.kernels.cpu.runtime.settings import MOST_THREADS
from fastconv.kernels.cpu.runtime.team import (
    ARGUMENTS,
    DONE,
    HELPERS,
    OPEN,
    WANTED,
    _serve,
    claim,
    finish,
    make_control,
    post,
    start_shares,
)
from tests.kernels.cpu.runtime.counting import add_one, count_tasks, wait_and_count

pytestmark = pytest.mark.usefixtures("two_threads")


def test_late_helpers_never_touch_the_next_job():
    """More threads than cores, so that helpers come late; jobs of changing size, kernel and arrays."""
    set_num_threads(4)
    rng = np.random.default_rng(0)
    scratch = np.zeros((4, 8), np.int64)
    for i in range(4000):
        counts = np.zeros(int(rng.integers(2, 40)), np.int64)
        if i % 3:
            launch(add_one, counts.size, counts)
        else:
            launch(count_tasks, counts.size, counts, scratch=scratch)
        assert (counts == 1).all(), i
        if i % 50 == 0:
            time.sleep(0.002)  # helpers fall asleep and are woken


def test_helpers_of_a_dismissed_team_take_no_job():
    """They may still spin when the next team posts its first job: they look at words of their own."""
    for _ in range(50):
        set_num_threads(3)
        old = launching._team
        launch(add_one, 30, np.zeros(30, np.int64))
        assert old.helpers
        set_num_threads(2)
        assert launching._team.control is not old.control
        counts, scratch = np.zeros(200, np.int64), np.zeros((2, 8), np.int64)
        launch(count_tasks, 200, counts, scratch=scratch)
        assert (counts == 1).all()
        assert scratch[:, 0].sum() == 200
        assert (old.size, old.helpers) == (1, [])


def test_caller_of_a_dismissed_team_is_alone():
    team = launching._team
    set_num_threads(2)
    launching._team, new = team, launching._team  # as a caller that looked just before
    try:
        counts = np.zeros(20, np.int64)
        launch(add_one, 20, counts)
        assert (counts == 1).all()
        assert not team.helpers
    finally:
        launching._team = new


def _wait_until(true):
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("holder", [0, 2])
def test_a_job_ends_when_all_is_done_and_no_helper_holds_it(holder):
    """Its arrays are the caller's again then, and the words those of the next job."""
    end = numba.njit(nogil=True)(lambda *given: finish(*given))
    words, control = make_control()
    words[DONE // 8] = 4
    end(control, 4, 3)  # compiled here
    words[[DONE // 8, OPEN // 8, HELPERS // 8 + 8 * holder]] = 3, 7, 1
    caller = threading.Thread(target=end, args=(control, 4, 3), daemon=True)
    caller.start()
    time.sleep(0.05)
    assert (caller.is_alive(), words[OPEN // 8]) == (True, 7)  # one chunk is not done
    words[DONE // 8] = 4
    _wait_until(lambda: words[OPEN // 8] == 0)
    time.sleep(0.05)
    assert caller.is_alive()  # a helper may still read the words of the job
    words[HELPERS // 8 + 8 * holder] = 0
    caller.join(30)
    assert not caller.is_alive()


def test_a_helper_that_is_not_wanted_stays_out():
    """There is no row of scratch for it, though chunks are left."""
    tell = numba.njit(lambda *given: post(*given))
    words, control = make_control()
    counts, scratch = np.zeros(40, np.int64), np.zeros((6, 8), np.int64)
    launch(count_tasks, 1, np.zeros(1, np.int64), scratch=scratch)
    scratch[:] = 0
    entry = launching._pack(count_tasks, control + ARGUMENTS, scratch[:3], (counts,))
    for wanted in (1, 2):
        counts[:], scratch[:] = 0, 0
        ticket = tell(control, entry, control + ARGUMENTS, wanted, 40, 40)
        for number in (3, 5, wanted + 1):
            assert _serve(control, number, 0, 10) == ticket
            assert not counts.any()
            assert not scratch.any()
        assert _serve(control, wanted, 0, 10) == ticket
        assert (counts == 1).all()
        assert np.flatnonzero(scratch[:, 0]).tolist() == [wanted]
    assert words.any()


def test_no_row_of_scratch_is_used_that_is_not_there():
    """Fewer rows than threads, and a program that is run with more threads than it was recorded with."""
    everything = np.zeros((8, 8), np.int64)
    counts = np.zeros(4000, np.int64)
    set_num_threads(4)
    for rows in (2, 1, 3):
        everything[:] = 0
        for _ in range(50):
            launch(wait_and_count, 64, 100, np.zeros(64))  # wakes every helper
            launch(count_tasks, 4000, counts, scratch=everything[:rows])
            assert not everything[rows:].any()
        if rows > 1:
            assert launching._team.control[WANTED // 8] == rows - 1
    for recorded in (2, 1, 3):
        everything[:] = 0
        set_num_threads(recorded)
        with launching.record() as program:
            launch(count_tasks, 4000, counts, scratch=everything[:recorded])
        for threads in (4, recorded, 6):
            set_num_threads(threads)
            for _ in range(20):
                launch(wait_and_count, 64, 100, np.zeros(64))
                program.run()
                assert not everything[recorded:].any()
            if recorded > 1:
                assert launching._team.control[WANTED // 8] == recorded - 1
    assert (counts == 3 * 50 + 3 * 3 * 20).all()


@functools.cache
def _claims():
    """Functions that Python can call, compiled once for all tests."""
    return numba.njit(lambda *given: claim(*given)), numba.njit(lambda *given: start_shares(*given))


@pytest.mark.parametrize("chunks", [1, 2, 7, 64, 320])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_every_chunk_is_claimed_once_its_own_share_first(threads, chunks, rng):
    take, start = _claims()
    words, control = make_control()
    start(control, 3, threads - 1)
    claimed, waiting = [], set(range(threads))
    while waiting:
        number = int(rng.choice(sorted(waiting)))
        own = set(range(number * chunks // threads, (number + 1) * chunks // threads)) - set(claimed)
        assert take(control, 2, chunks, number)[1] == 0  # one that comes late, with a job that is over
        begin, count = take(control, 3, chunks, number)
        if count == 0:
            waiting.remove(number)
        elif own:
            assert begin in own
        claimed += range(begin, begin + count)
    assert sorted(claimed) == list(range(chunks))
    assert words.any()  # `control` is their address


def test_an_interrupt_anywhere_leaves_the_team_to_the_next_launch():
    """An interrupt at each line of a launch in turn: the next one has all threads again, and nobody waits for ever."""
    counts = np.zeros(64)
    scratch = np.zeros((2, 1))
    launch(count_tasks, 64, counts, scratch=scratch)

    def free():
        got = []
        busy = launching._team.busy

        def take():
            if busy.acquire(blocking=False):
                got.append(busy.release())

        other = threading.Thread(target=take)
        other.start()
        other.join()
        return bool(got)

    lines = 0
    while True:
        left = lines = lines + 1

        def interrupt(frame, event, argument):
            nonlocal left
            if frame.f_code.co_filename != launching.__file__:
                return None
            left -= event == "line"
            if not left:
                raise KeyboardInterrupt
            return interrupt

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            launch(count_tasks, 64, counts, scratch=scratch)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        if left > 0:
            break
        launch(count_tasks, 64, counts, scratch=scratch)
        assert free(), f"after an interrupt at line {lines}"
    assert lines > 10


def test_every_helper_has_a_cache_line_of_its_own_to_wait_at():
    words, place = make_control()
    assert place == words.ctypes.data
    assert words.nbytes >= HELPERS + 64 * MOST_THREADS
