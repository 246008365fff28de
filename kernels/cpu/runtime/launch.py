"""How kernels are compiled and run.

A kernel is a function ``f(begin, end, *arguments)`` that does the tasks `begin` to `end - 1` of some division of its
work. The division depends on shapes only and every output element belongs to one task, so results do not depend on how
many threads share the tasks.

`launch` hands out the tasks in chunks to a team of threads (team.py). Numba's threading layers are not used:
`workqueue` aborts the process when two threads launch at once, and `omp` kills a forked child at its first launch.
Here a caller that finds the team busy does its tasks alone, and a forked child starts a team of its own.

`record` keeps launches instead of running them, as a `Program` that one call runs from compiled code.
"""

import contextlib
import functools
import inspect
import os
import threading
import weakref

import numpy as np

from . import declared
from .atomic import atomic_load, atomic_store
from .cache import KernelCache
from .compiler import CALL, LaunchedKernel, OwnKernel, compiled_now, part, whole
from .cpu_caches import LINE_BYTES
from .float_state import flush_here, write_state
from .job import ARGUMENT_BYTES, call_entry, pack_job, packed_bytes
from .settings import default_num_threads
from .team import ARGUMENTS, FAILED, LASTING, TICKET, Team, claim, count_done, finish, make_control, post, start_shares

_CHUNKS_PER_THREAD = 64  # enough to even out a core that somebody else uses; they are taken many at a time
_HEADER_BYTES = 64  # of a job in a program: entry, tasks, chunks, threads at most
_JOB_BYTES = _HEADER_BYTES + ARGUMENT_BYTES


def device(function):
    """Compile a function that kernels call; it is inlined into them."""
    return part(function, forceinline=True)


def _make_work(compiled, scratched):
    """Make the function that claims chunks of a job and does them; `packed` is (scratch, arguments)."""
    if scratched:

        def work(control, ticket, number, tasks, chunks, packed):
            scratch, arguments = packed
            chunk, count = claim(control, ticket, chunks, number)
            while count:
                begin, end = chunk * tasks // chunks, (chunk + count) * tasks // chunks
                compiled(begin, end, scratch[number], *arguments)
                count_done(control, count)
                chunk, count = claim(control, ticket, chunks, number)

    else:

        def work(control, ticket, number, tasks, chunks, packed):
            chunk, count = claim(control, ticket, chunks, number)
            while count:
                compiled(chunk * tasks // chunks, (chunk + count) * tasks // chunks, *packed[1])
                count_done(control, count)
                chunk, count = claim(control, ticket, chunks, number)

    return part(work)


def kernel(function):
    """Compile ``function(begin, end, *arguments)`` for `launch`, with the disk cache of cache.py.

    If the parameter after `end` is called `scratch`, it is a row of what `launch` gets under that name. What a factory
    of this package makes needs a ``__name__`` of its own for each variant: it is the name of the cache file. A kernel
    that is declared elsewhere is compiled once in each process, and not kept on disk.
    """
    declared.refuse_functions(function)
    scratched = list(inspect.signature(function).parameters)[2:3] == ["scratch"]
    work = _make_work(part(function), scratched)

    def pack(place, scratch, *arguments):
        """Write a job's arguments to the address `place`; return its entry, 0 if they are too many."""
        packed = (scratch, arguments)
        if packed_bytes(packed) > ARGUMENT_BYTES:
            return 0
        return pack_job(place, FAILED, work, packed)

    dispatcher = whole(pack)
    dispatcher._cache = KernelCache(function)
    dispatcher.__class__ = LaunchedKernel if dispatcher._cache.is_declared_here else OwnKernel
    if type(dispatcher) is OwnKernel:
        declared.note_declared()
    dispatcher.function, dispatcher.scratched = function, scratched
    return functools.update_wrapper(dispatcher, function)


@part
def _do(control, entry, place, tasks, chunks, wanted, helpers):
    """Share a job with the first `wanted` helpers, or do it alone; tell whether it failed."""
    if chunks == 1 or wanted < 1:
        atomic_store(control + FAILED, 0)
        ticket = atomic_load(control + TICKET) + 1  # nobody is told of it
        start_shares(control, ticket, 0)
        call_entry(entry, control, ticket, 0, tasks, chunks, place)
    else:
        ticket = post(control, entry, place, wanted, tasks, chunks)
        call_entry(entry, control, ticket, 0, tasks, chunks, place)
        finish(control, chunks, helpers)
    return atomic_load(control + FAILED) != 0


@compiled_now("boolean(int64, int64, int64, int64, int64, int64)")
def _run_job(control, entry, tasks, chunks, wanted, helpers):
    """Run the job whose arguments lie after `control`; return whether it failed."""
    state = flush_here()
    failed = _do(control, entry, control + ARGUMENTS, tasks, chunks, wanted, helpers)
    write_state(state)
    return failed


@compiled_now("int64(int64, int64, int64, int64, int64)")
def _run_program(control, program, jobs, helpers, most):
    """Run recorded jobs in order; return 0, or the number of the one that failed, from 1."""
    state = flush_here()
    atomic_store(control + LASTING, 1)
    failed = 0
    for i in range(jobs):
        job = program + i * _JOB_BYTES
        entry, tasks, chunks = atomic_load(job), atomic_load(job + 8), atomic_load(job + 16)
        wanted = min(most - 1, atomic_load(job + 24) - 1)
        if _do(control, entry, job + _HEADER_BYTES, tasks, chunks, wanted, helpers):
            failed = i + 1
            break
    atomic_store(control + LASTING, 0)
    write_state(state)
    return failed


class NotRecordableError(RuntimeError):
    """Something other than launches would have to be recorded."""


class FailedInProgramError(RuntimeError):
    """A kernel raised something in a `Program`: what, only the code that was recorded can tell, run again."""


class Program:
    """Launches that were recorded, with the arrays that they read and write.

    Their results are in those arrays after each call, so one thread at a time runs it.

    Parameters
    ----------
    holds : callable
        Tells of an array whether the program must keep its memory alive. Memory of a pool that lives as long as the
        program need not be: so an array that died while launches were recorded leaves its place to later ones.
    """

    def __init__(self, holds):
        self.names = []
        self._jobs = []
        self._holds = holds
        self.held = []
        self._conditions = set()
        self._memory = None

    def add(self, function, tasks, arguments, scratch, *, condition=False):
        """Write a launch down. A kernel that is a condition raises where the rest must not run."""
        most = _most_threads(_team.size, tasks, scratch)
        words = np.zeros(_JOB_BYTES // 8, np.int64)
        words[0] = _pack(function, words.ctypes.data + _HEADER_BYTES, scratch, arguments)
        words[1:4] = tasks, 1 if most == 1 else min(tasks, most * _CHUNKS_PER_THREAD), most
        self.names.append(function.function.__name__)
        self._jobs.append(words)
        self.held += [array for array in declared.arrays_of((*arguments, scratch)) if self._holds(array)]
        if condition:
            self._conditions.add(len(self._jobs))
        self._memory = None

    def run(self):
        """Run all launches in order; return False, with those after it undone, if a condition does not hold."""
        if self._memory is None:
            self._memory = np.concatenate(self._jobs) if self._jobs else np.zeros(0, np.int64)
        note, alone = _local.note, len(self.names) == 1
        ended = note(self.names[0]) if note is not None and alone else None
        with _Control(_team.size) as (control, most, helpers):
            failed = _run_program(control, self._memory.ctypes.data, len(self._jobs), helpers, most)
        if failed and failed not in self._conditions:
            raise FailedInProgramError(f"kernel {self.names[failed - 1]}: failed inside a program")
        if ended is not None:
            ended()
        if note is not None and not alone:
            for name in self.names[: failed or None]:
                note(name)
        return not failed


class _Local(threading.local):
    """What belongs to a thread: words for jobs that it runs alone, where launches are recorded, who is told of them."""

    control = program = note = holder = None


_team = Team(default_num_threads())
_local = _Local()


def _new_team_after_fork():
    global _team
    _team = Team(_team.size)


os.register_at_fork(after_in_child=_new_team_after_fork)


def set_num_threads(count):
    """Use at most `count` threads for each launch from now on."""
    global _team
    new = Team(count)
    old, _team = _team, new
    old.dismiss()


def get_num_threads():
    """Return how many threads a launch uses at most."""
    return _team.size


def line_bytes(count):
    """Return so many bytes of scratch, on cache lines of their own."""
    memory = np.empty(count + LINE_BYTES, np.uint8)
    start = -memory.ctypes.data % LINE_BYTES
    return memory[start : start + count]


def thread_rows(bytes_each, dtype):
    """Return scratch for `launch`: a row of at least so many bytes for each thread, on cache lines of its own.

    A vector written across two lines and read again soon waits until it is written: sums of a normalisation's gradient,
    128x32x32x16 on Zen 5, take 0.33 ms so, 0.09 on lines.
    """
    threads, row = get_num_threads(), -(-bytes_each // LINE_BYTES) * LINE_BYTES
    return line_bytes(threads * row).view(dtype).reshape(threads, -1)


def _most_threads(size, tasks, scratch):
    return min(size, tasks, tasks if scratch is None else declared.rows_of(scratch))


class _Control:
    """The words for jobs of up to `most` threads, how many threads they get, and how many helpers there are.

    Within this the team is held. If it is busy, or not wanted, words of this thread's own are given, for one thread.

    An interrupt may come between any two instructions, so also between taking the team and the block that gives it
    back. What was taken so is given back at the thread's next launch, when the one that took it is gone.
    """

    __slots__ = ("__weakref__", "_before", "_most", "_own", "_team")

    def __init__(self, most):
        self._most = most

    def __enter__(self):
        team = _team
        if self._most > 1 and team.size > 1 and self._take(team):
            self._team, self._own = team, None
            try:
                most = min(self._most, team.size)
                return team.address, most, team.summon(most)
            except BaseException:
                self.__exit__()
                raise
        # Taken while it is in use: what interrupts this thread, and launches too, makes words of its own.
        self._team, self._own, _local.control = None, _local.control or make_control(), None
        return self._own[1], 1, 0

    def __exit__(self, *error):
        if self._team is None:
            _local.control = self._own
        else:
            self._team.busy.release()
            _local.holder = self._before

    def _take(self, team):
        """Hold the team if nobody does, not even a launch of this thread that the present one interrupts."""
        if team.busy._is_owned():
            if _local.holder is not None and _local.holder() is not None:
                return False
            while team.busy._is_owned():
                team.busy.release()
        self._before, _local.holder = _local.holder, weakref.ref(self)
        if team.busy.acquire(blocking=False):
            return True
        _local.holder = self._before
        return False


def _pack(function, place, scratch, arguments):
    """Write a job's arguments to an address and return its entry."""
    if type(function) is not LaunchedKernel:
        if type(function) is not OwnKernel:
            raise TypeError(f"launch: got {function!r}; allowed: what `kernel` made of a function")
        declared.refuse_arguments(function, scratch, arguments)
    try:
        entry = CALL(function, place, 0 if scratch is None else scratch, *arguments)
    except declared.UNCOMPILED:
        declared.refuse_uncompiled(function.function, scratch, arguments)
        raise
    if not entry:
        raise ValueError(f"{function.function.__name__}: its arguments take more than {ARGUMENT_BYTES} bytes")
    return entry


def _raise_error(function, tasks, arguments, scratch):
    """Raise the error of a kernel that failed, which compiled code has no words for: run it again, from Python."""
    first = () if scratch is None else (scratch[0],)
    whole(function.function)(0, tasks, *first, *arguments)
    raise RuntimeError(f"kernel {function.function.__name__}: failed, and not when it was run again")


@contextlib.contextmanager
def _within(name, value):
    """Within this, `value` is what belongs to this thread under that name of `_Local`."""
    before = getattr(_local, name)
    try:
        try:
            setattr(_local, name, value)
            yield value
        finally:
            setattr(_local, name, before)
    finally:  # again: an interrupt may come before the first time
        setattr(_local, name, before)


def record(holds=lambda array: True):
    """Within this, launches of this thread are kept in the `Program` that it gives, and not run."""
    return _within("program", Program(holds))


def immediately():
    """Within this, launches of this thread run, though others are being recorded."""
    return _within("program", None)


def is_recording():
    """Tell whether launches of this thread are being recorded."""
    return _local.program is not None


def refuse_recording(what):
    """Say, where launches are being recorded, that `what` is computed otherwise."""
    if is_recording():
        raise NotRecordableError(f"{what} is not made of launches alone")


def trace(note):
    """Within this, `note` gets the name of each kernel that this thread launches; what it returns is called at its end.

    It may return None. Several that were recorded and run as one are told of when that is over, without their ends.
    """
    return _within("note", note)


def _launch_traced(note, function, tasks, arguments, scratch):
    ended = note(function.function.__name__)
    with _within("note", None):
        launch(function, tasks, *arguments, scratch=scratch)
    if ended is not None:
        ended()


def launch_condition(function, *arguments):
    """Record ``function(0, 1, *arguments)``, which raises where what is recorded after it must not run."""
    _local.program.add(function, 1, arguments, None, condition=True)


def launch(function, tasks, *arguments, scratch=None):
    """Run ``function(begin, end, *arguments)`` over the tasks 0 to `tasks` - 1 and return when all are done.

    With `scratch`, an array with at least `get_num_threads()` rows, the call is ``function(begin, end, scratch[i],
    *arguments)`` with another row on each thread. The floating-point state of the calling thread is as before
    afterwards. With one task, or in a team that is busy with another caller's launch, everything runs on the calling
    thread.
    """
    if type(tasks) is not int or tasks > declared.MOST_TASKS:
        tasks = declared.as_tasks(function, tasks)
    if tasks <= 0:
        return
    if _local.program is not None:
        _local.program.add(function, tasks, arguments, scratch)
        return
    if _local.note is not None:
        _launch_traced(_local.note, function, tasks, arguments, scratch)
        return
    with _Control(_most_threads(_team.size, tasks, scratch)) as (control, most, helpers):
        entry = _pack(function, control + ARGUMENTS, scratch, arguments)
        chunks = 1 if most == 1 else min(tasks, most * _CHUNKS_PER_THREAD)
        failed = _run_job(control, entry, tasks, chunks, most - 1, helpers)
    if failed:
        _raise_error(function, tasks, arguments, scratch)
