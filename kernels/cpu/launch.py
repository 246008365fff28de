"""How kernels are compiled and run.

A kernel is a function ``f(begin, end, *arguments)`` that does the tasks `begin` to `end - 1` of some division of its
work. The division depends on shapes only and every output element belongs to one task, so results do not depend on how
many threads share the tasks.

`launch` hands out the tasks in chunks to a team of threads. The threads are Python's own, and kernels run without the
interpreter lock. Numba's threading layers are not used: `workqueue` aborts the process when two threads launch at once,
and `omp` kills a forked child at its first launch. Here a caller that finds the team busy does its tasks alone, and a
forked child starts a team of its own.

Between launches a helper spins in compiled code, without the interpreter lock, for some hundred microseconds before it
sleeps. The caller posts a job from inside compiled code too, so neither waits for the other's lock: a launch on two
threads costs about 8 microseconds more than one on the caller alone (13 against 5, Zen 5); waking a sleeping thread
would cost 40.
"""

import os
import threading
from queue import SimpleQueue

import numba
import numpy as np

from .atomic import atomic_add, atomic_load, atomic_replace, atomic_store, relax
from .cache import KernelCache
from .float_state import flush_subnormals, restore_float_state

_OPTIONS = {"nogil": True, "error_model": "numpy"}
_CHUNKS_PER_THREAD = 16  # enough to even out a core that somebody else uses; taking one costs some 50 ns
_SPINS = 10_000  # of a helper before it sleeps

# Words of a team's control block, a cache line each. The next chunk is counted from ticket * _MOST_CHUNKS, so that a
# helper that comes late, with a job that is over, cannot take a chunk of the next one. A helper's own word is 1 while
# it may hold a job.
_MOST_CHUNKS = 1 << 20
_LINE = 64
_NEXT, _DONE, _TICKET, _FAILED, _HELPERS = (i * _LINE for i in range(5))

relax = numba.njit(**_OPTIONS)(relax)


def device(function):
    """Compile a function that kernels call; it is inlined into them."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def kernel(function):
    """Compile ``function(begin, end, *arguments)`` for `launch`, with the disk cache of `fastconv.kernels.cpu.cache`.

    Functions made by a factory need a ``__name__`` of their own for each variant: it is the name of the cache file.
    """
    compiled = numba.njit(**_OPTIONS)(function)

    def share(control, ticket, helpers, tasks, chunks, *arguments):
        """Do chunks until none is left: alone (control 0), as a helper (helpers -1), or as the caller, who waits."""
        if control and helpers >= 0:
            atomic_store(control + _TICKET, ticket)
        chunk = _claim(control, ticket, chunks) if control else 0
        while chunk < chunks:
            compiled(chunk * tasks // chunks, (chunk + 1) * tasks // chunks, *arguments)
            if control:
                atomic_add(control + _DONE, 1)
                chunk = _claim(control, ticket, chunks)
            else:
                chunk = chunks
        spins = 0
        while control and _unfinished(control, helpers, chunks):
            relax(spins)
            spins += 1

    dispatcher = numba.njit(**_OPTIONS)(share)
    dispatcher._cache = KernelCache(f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}")
    dispatcher.function = function
    return dispatcher


@numba.njit(**_OPTIONS)
def _claim(control, ticket, chunks):
    """Take the next chunk of the job `ticket`; `chunks` if none is left, or the team is at another job by now."""
    while True:
        word = atomic_load(control + _NEXT)
        chunk = word - ticket * _MOST_CHUNKS
        if chunk < 0 or chunk >= chunks:
            return chunks
        if atomic_replace(control + _NEXT, word, word + 1):
            return chunk


@numba.njit(**_OPTIONS)
def _unfinished(control, helpers, chunks):
    """Tell whether a chunk is still being done, or a helper still holds the job's arrays."""
    if helpers < 0:
        return False
    if atomic_load(control + _DONE) < chunks and not atomic_load(control + _FAILED):
        return True
    busy = 0
    for helper in range(helpers):
        busy += atomic_load(control + _HELPERS + helper * _LINE)
    return busy > 0


@numba.njit("void(int64, int64, int64)", **_OPTIONS)
def _wait_until_idle(control, helpers, chunks):
    """Wait like a caller whose kernel failed: for the helpers alone."""
    spins = 0
    while _unfinished(control, helpers, chunks):
        relax(spins)
        spins += 1


@numba.njit("int64(int64, int64, int64)", **_OPTIONS)
def _await_ticket(control, seen, most):
    """Spin until the ticket differs from `seen`, at most `most` times; return it."""
    for _ in range(most):
        ticket = atomic_load(control + _TICKET)
        if ticket != seen:
            return ticket
        relax(0)
    return seen


def default_num_threads():
    """Return FASTCONV_NUM_THREADS, else the number of cores that this process may use."""
    text = os.environ.get("FASTCONV_NUM_THREADS")
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"FASTCONV_NUM_THREADS: got {text!r}; allowed: a positive whole number")
        return int(text)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:  # a container's share of the machine (cgroup v2)
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


class _Helper:
    """A thread that joins the team's launches. Its attributes are touched with the interpreter lock held only."""

    def __init__(self, team, number):
        self.team, self.number = team, number
        self.word = team.control[(_HELPERS + (number - 1) * _LINE) // 8 :]
        self.asleep, self.dismissed = False, False
        self.wake = SimpleQueue()
        threading.Thread(target=self._run, name=f"fastconv-{number}", daemon=True).start()

    def _run(self):
        flush_subnormals()
        seen = 0
        while not self.dismissed:
            ticket = _await_ticket(self.team.address, seen, _SPINS)
            if ticket == seen:
                self.asleep = True
                if self.team.control[_TICKET // 8] == seen and not self.dismissed:
                    self.wake.get()
                self.asleep = False
                continue
            if self.dismissed:  # while it spun; its number, and so its word and its scratch, are a successor's now
                return
            seen = ticket
            self.word[0] = 1
            job = self.team.job
            if job is not None:
                self._join(job)
            job = None
            self.word[0] = 0

    def _join(self, job):
        function, ticket, helpers, tasks, chunks, arguments, scratch, errors = job
        if self.number > helpers:
            return
        if scratch is not None:
            arguments = (scratch[self.number], *arguments)
        try:
            function(self.team.address, ticket, -1, tasks, chunks, *arguments)
        except BaseException as error:
            errors.append(error)
            self.team.control[_FAILED // 8] = 1


class _Team:
    """The helpers of a process, and the one launch that they share at a time."""

    def __init__(self, size):
        self.size = size
        self.busy = threading.Lock()
        self.control = np.zeros(_HELPERS // 8 + 8 * 1024, np.int64)
        self.address = self.control.ctypes.data
        self.helpers = []
        self.job = None
        self.ticket = 0

    def resize(self, size):
        with self.busy:
            if size > 1024:
                raise ValueError(f"num_threads: got {size}; allowed: at most 1024")
            for helper in self.helpers:
                helper.dismissed = True
                helper.wake.put(None)
            self.helpers = []
            self.size = size

    def run(self, function, tasks, arguments, scratch):
        """Run one launch on up to `size` threads; the caller holds `busy`."""
        most = min(self.size, tasks, len(scratch) if scratch is not None else tasks)
        while len(self.helpers) < most - 1:
            self.helpers.append(_Helper(self, len(self.helpers) + 1))
        chunks = min(tasks, most * _CHUNKS_PER_THREAD)
        errors = []
        self.ticket += 1
        self.control[_DONE // 8] = self.control[_FAILED // 8] = 0
        self.control[_NEXT // 8] = self.ticket * _MOST_CHUNKS
        self.job = function, self.ticket, most - 1, tasks, chunks, arguments, scratch, errors
        for helper in self.helpers[: most - 1]:
            if helper.asleep:
                helper.wake.put(None)
        own = arguments if scratch is None else (scratch[0], *arguments)
        try:
            function(self.address, self.ticket, len(self.helpers), tasks, chunks, *own)
        except BaseException:
            self.control[_NEXT // 8] = self.ticket * _MOST_CHUNKS + chunks
            self.control[_FAILED // 8] = 1
            raise
        finally:
            # A helper may have come for the job after the last look; it still holds the caller's arrays.
            self.job = None
            _wait_until_idle(self.address, len(self.helpers), chunks)
        if errors:
            raise errors[0]


_team = _Team(default_num_threads())


def _new_team_after_fork():
    global _team
    _team = _Team(_team.size)


os.register_at_fork(after_in_child=_new_team_after_fork)


def set_num_threads(count):
    """Use at most `count` threads for each launch from now on."""
    _team.resize(count)


def get_num_threads():
    """Return how many threads a launch uses at most."""
    return _team.size


def launch(function, tasks, *arguments, scratch=None):
    """Run ``function(begin, end, *arguments)`` over the tasks 0 to `tasks` - 1 and return when all are done.

    With `scratch`, an array with at least `get_num_threads()` rows, the call is ``function(begin, end, scratch[i],
    *arguments)`` with another row on each thread. The floating-point state of the calling thread is as before
    afterwards. With one task, or in a team that is busy with another caller's launch, everything runs on the calling
    thread.
    """
    if tasks <= 0:
        return
    team = _team
    state = flush_subnormals()
    try:
        if tasks == 1 or team.size == 1 or not team.busy.acquire(blocking=False):
            function(0, 0, 0, tasks, 1, *(arguments if scratch is None else (scratch[0], *arguments)))
            return
        try:
            team.run(function, tasks, arguments, scratch)
        finally:
            team.busy.release()
    finally:
        restore_float_state(state)
