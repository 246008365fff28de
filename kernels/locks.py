"""Locks that a process which is forked finds open: the threads that held them are not there."""

import os
import weakref
from _thread import RLock

_locks = weakref.WeakSet()


class ForkSafeLock(RLock):
    """What one thread at a time holds in a ``with``, as often as it likes.

    In a forked child all are open again but those that the forking thread holds. For work that is done whole or not at
    all by whoever comes next: what another thread had begun is not in order.

    Taken and left by the RLock's own code: a method in Python is a place where an interrupt may come between taking it
    and the block that leaves it again.
    """

    def __init__(self):
        _locks.add(self)

    def renew(self):
        """Open it, unless it is held by this thread: only an RLock tells that."""
        if not self._is_owned():
            self._at_fork_reinit()


def _renew_after_fork():
    for lock in list(_locks):
        lock.renew()


os.register_at_fork(after_in_child=_renew_after_fork)
