"""The threads that share launches, and the words of memory through which they do.

The threads are Python's own; while there is work they stay in compiled code, without the interpreter lock: a helper
spins on the ticket, takes the job that is posted, and spins again, for some hundred microseconds before it sleeps in
Python. So neither a caller nor a helper waits for the other's lock.

A job is posted by writing its entry, arguments and numbers of tasks and chunks, then its ticket. Each thread has an
equal share of the chunks, always the same one, so that what it wrote in one launch it finds in a cache of its own in
the next; whoever has none left takes from the others'. On two cores of Zen 5 without a common cache a training step of
ResNet-20 takes 0.94 of the time that it takes when all chunks are handed out in order, with one 0.99. Chunks of a share
are claimed by counting up its word, many at a time while many are left, for a word takes 200 ns from one such core to
the other (inference at batch 8: 1.70 ms one by one, 1.45 so). It is counted from ticket * MOST_CHUNKS, so that a helper
that comes late, with a job that is over, cannot take a chunk of the next one. A helper says that it may hold the job
before it looks whether it is still open; the caller closes the job before it looks whether somebody holds it. So when
the caller returns, nobody touches its arrays. A launch on two threads costs about 1 microsecond more than one on the
caller alone (Zen 5).
"""

import threading
from queue import SimpleQueue

import numpy as np

from .atomic import atomic_add, atomic_load, atomic_replace, atomic_store, relax
from .compiler import compiled_now, part
from .cpu_caches import LINE_BYTES
from .float_state import flush_subnormals
from .job import ARGUMENT_BYTES, call_entry
from .settings import MOST_THREADS

MOST_CHUNKS = 1 << 20
_SPINS = 10_000  # of a helper before it sleeps

# Offsets of the words, a cache line each, where threads write to them at different times.
NEXT, DONE, TICKET, OPEN, FAILED, JOB, LASTING, ARGUMENTS = (i * LINE_BYTES for i in range(8))
ENTRY, PLACE, TASKS, CHUNKS, WANTED = (JOB + 8 * i for i in range(5))
HELPERS = ARGUMENTS + ARGUMENT_BYTES
CONTROL_BYTES = HELPERS + MOST_THREADS * LINE_BYTES

relax = part(relax)


@part
def _share_of(control, number):
    """Address of the word by which the chunks of a thread's share are counted."""
    return control + NEXT if number == 0 else control + HELPERS + (number - 1) * LINE_BYTES + 8


@part
def claim(control, ticket, chunks, number):
    """Take some of the chunks that are left of the job `ticket`: the first, and how many. None if none is left.

    Half of what is left of this thread's own share; then of the others', one after the other, less of it: so the last
    ones are single and all threads end together.
    """
    shares = atomic_load(control + WANTED) + 1
    for turn in range(shares):
        share = (number + turn) % shares
        first = share * chunks // shares
        size = (share + 1) * chunks // shares - first
        place = _share_of(control, share)
        parts = 2 if turn == 0 else 2 * shares
        while True:
            word = atomic_load(place)
            taken = word - ticket * MOST_CHUNKS
            if taken < 0 or taken >= size:
                break
            count = max((size - taken) // parts, 1)
            if atomic_replace(place, word, word + count):
                return first + taken, count
    return chunks, 0


@part
def start_shares(control, ticket, wanted):
    """Set the words of the shares of a job for the caller and the first `wanted` helpers."""
    atomic_store(control + WANTED, wanted)
    for number in range(wanted + 1):
        atomic_store(_share_of(control, number), ticket * MOST_CHUNKS)


@part
def post(control, entry, place, wanted, tasks, chunks):
    """Post a job for the first `wanted` helpers; return its ticket."""
    ticket = atomic_load(control + TICKET) + 1
    atomic_store(control + DONE, 0)
    atomic_store(control + FAILED, 0)
    atomic_store(control + ENTRY, entry)
    atomic_store(control + PLACE, place)
    atomic_store(control + TASKS, tasks)
    atomic_store(control + CHUNKS, chunks)
    start_shares(control, ticket, wanted)
    atomic_store(control + OPEN, ticket)
    atomic_store(control + TICKET, ticket)
    return ticket


@part
def finish(control, chunks, helpers):
    """Wait until all chunks are done (or one failed), close the job, and wait until no helper holds it."""
    spins = 0
    while atomic_load(control + DONE) < chunks and not atomic_load(control + FAILED):
        relax(spins)
        spins += 1
    for number in range(atomic_load(control + WANTED) + 1):
        atomic_store(_share_of(control, number), (atomic_load(control + TICKET) + 1) * MOST_CHUNKS)
    atomic_store(control + OPEN, 0)
    for helper in range(helpers):
        while atomic_load(control + HELPERS + helper * LINE_BYTES):
            relax(spins)
            spins += 1


@compiled_now("int64(int64, int64, int64, int64)")
def _serve(control, number, seen, most):
    """Take part in jobs until none came for `most` turns; return the last ticket seen."""
    word = control + HELPERS + (number - 1) * LINE_BYTES
    spins = 0
    while spins < most:
        ticket = atomic_load(control + TICKET)
        if ticket == seen:
            relax(0)
            spins += 1 - atomic_load(control + LASTING)
            continue
        seen, spins = ticket, 0
        atomic_store(word, 1)
        if atomic_load(control + OPEN) == ticket and number <= atomic_load(control + WANTED):
            call_entry(
                atomic_load(control + ENTRY),
                control,
                ticket,
                number,
                atomic_load(control + TASKS),
                atomic_load(control + CHUNKS),
                atomic_load(control + PLACE),
            )
        atomic_store(word, 0)
    return seen


@part
def count_done(control, count):
    """Say that `count` chunks are done."""
    atomic_add(control + DONE, count)


def make_control():
    """Return new words, and their address."""
    words = np.zeros(CONTROL_BYTES // 8, np.int64)
    return words, words.ctypes.data


class _Helper:
    """A thread that joins the team's jobs. Its attributes are touched with the interpreter lock held only."""

    def __init__(self, control, number):
        self._control, self._number = control, number
        self.asleep, self.dismissed = False, False
        self.wake = SimpleQueue()
        threading.Thread(target=self._run, name=f"fastconv-{number}", daemon=True).start()

    def _run(self):
        flush_subnormals()
        seen = 0
        while not self.dismissed:
            seen = _serve(self._control.ctypes.data, self._number, seen, _SPINS)
            self.asleep = True
            if self._control[TICKET // 8] == seen and not self.dismissed:
                self.wake.get()
            self.asleep = False


class Team:
    """The helpers of a process, and the one job that they share at a time.

    Attributes
    ----------
    size : int
        Threads, the caller's included; 1 after `dismiss`.
    busy : RLock
        Held by the thread whose job it is; only an RLock tells whether that is the present one.
    control : int64 array
        The words above. A team of another size gets new ones, so that no late helper of this one writes to them.
    """

    def __init__(self, size):
        if size > MOST_THREADS:
            raise ValueError(f"num_threads: got {size}; allowed: at most {MOST_THREADS}")
        self.size = size
        self.busy = threading.RLock()
        self.control, self.address = make_control()
        self.helpers = []

    def summon(self, most):
        """Make sure that `most` - 1 helpers are there and awake; return how many there are in all."""
        while len(self.helpers) < most - 1:
            self.helpers.append(_Helper(self.control, len(self.helpers) + 1))
        for helper in self.helpers[: most - 1]:
            if helper.asleep:
                helper.wake.put(None)
        return len(self.helpers)

    def dismiss(self):
        """End the helpers; from now on a caller is alone."""
        with self.busy:
            self.size = 1
            for helper in self.helpers:
                helper.dismissed = True
                helper.wake.put(None)
            self.helpers = []
