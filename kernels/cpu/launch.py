"""How kernels are compiled and run.

A kernel is a function ``f(begin, end, *arguments)`` that does the tasks `begin` to `end - 1` of some division of its work. The
division depends on shapes only and every output element belongs to one task, so results do not depend on how many threads
share the tasks. `launch` hands out the tasks to a team of threads.

The threads are Python's own, and a kernel runs without the interpreter lock. Numba's threading layers are not used: `workqueue`
aborts the process when two threads launch at once, and `omp` kills a forked child at its first launch. Here a caller that finds
the team busy does its tasks alone, and a forked child starts a team of its own.
"""

import os
import threading
from itertools import count
from queue import SimpleQueue

import numba

from .cache import KernelCache
from .float_state import flush_subnormals, restore_float_state

_OPTIONS = {"nogil": True, "error_model": "numpy"}
_CHUNKS_PER_THREAD = 4  # enough to even out a core that somebody else uses, few enough to cost nothing


def device(function):
    """Compile a function that kernels call; it is inlined into them."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def kernel(function):
    """Compile ``function(begin, end, *arguments)`` for `launch`, with the disk cache of `fastconv.kernels.cpu.cache`.

    Functions made by a factory need a ``__name__`` of their own for each variant: it is the name of the cache file.
    """
    dispatcher = numba.njit(**_OPTIONS)(function)
    dispatcher._cache = KernelCache(f"{function.__module__.rsplit('.', 1)[-1]}.{function.__name__}")
    return dispatcher


def default_num_threads() -> int:
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


class _Job:
    """One launch: the chunks still to be done, and what went wrong."""

    def __init__(self, function, tasks, arguments, helpers, scratch):
        self.function, self.tasks, self.arguments, self.scratch = function, tasks, arguments, scratch
        self.chunks = min(tasks, (helpers + 1) * _CHUNKS_PER_THREAD)
        self.next_chunk = count()
        self.error = None
        self.done = SimpleQueue()

    def work(self, worker):
        arguments = self.arguments if self.scratch is None else (self.scratch[worker], *self.arguments)
        try:
            while (chunk := next(self.next_chunk)) < self.chunks:
                begin, end = chunk * self.tasks // self.chunks, (chunk + 1) * self.tasks // self.chunks
                self.function(begin, end, *arguments)
        except BaseException as error:
            self.error = error


def _help(jobs, worker):
    flush_subnormals()
    while True:
        job = jobs.get()
        if job is None:
            return
        job.work(worker)
        done, job = job.done, None
        done.put(None)


class _Team:
    def __init__(self):
        self.busy = threading.Lock()
        self.size = default_num_threads()
        self.queues = []

    def hire(self, helpers):
        while len(self.queues) < helpers:
            jobs = SimpleQueue()
            threading.Thread(target=_help, args=(jobs, len(self.queues) + 1), name="fastconv", daemon=True).start()
            self.queues.append(jobs)
        return self.queues[:helpers]

    def dismiss(self):
        for jobs in self.queues:
            jobs.put(None)
        self.queues = []


_team = _Team()


def _new_team_after_fork():
    global _team
    size = _team.size
    _team = _Team()
    _team.size = size


os.register_at_fork(after_in_child=_new_team_after_fork)


def set_num_threads(count):
    """Use at most `count` threads for each launch from now on."""
    with _team.busy:
        _team.dismiss()
        _team.size = count


def get_num_threads():
    """Return how many threads a launch uses at most."""
    return _team.size


def launch(function, tasks, *arguments, scratch=None):
    """Run ``function(begin, end, *arguments)`` over the tasks 0 to `tasks` - 1 and return when all are done.

    With `scratch`, an array with at least `get_num_threads()` rows, the call is ``function(begin, end, scratch[i], *arguments)``
    with another row on each thread.

    The floating-point state of the calling thread is as before afterwards. With one task, or in a team that is busy with
    another caller's launch, everything runs on the calling thread.
    """
    if tasks <= 0:
        return
    team = _team
    state = flush_subnormals()
    try:
        if tasks == 1 or team.size == 1 or not team.busy.acquire(blocking=False):
            function(0, tasks, *(arguments if scratch is None else (scratch[0], *arguments)))
            return
        try:
            _share(team, function, tasks, arguments, scratch)
        finally:
            team.busy.release()
    finally:
        restore_float_state(state)


def _share(team, function, tasks, arguments, scratch):
    helpers = team.hire(min(team.size, tasks, len(scratch) if scratch is not None else tasks) - 1)
    job = _Job(function, tasks, arguments, len(helpers), scratch)
    for jobs in helpers:
        jobs.put(job)
    job.work(0)
    interrupted = None
    for _ in helpers:  # an interrupt waits for the helpers, who still write into the caller's arrays
        while True:
            try:
                job.done.get()
                break
            except BaseException as error:
                interrupted = error
    if job.error is not None or interrupted is not None:
        raise job.error or interrupted
