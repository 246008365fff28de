"""Locks that a process which is forked finds open: the threads that held them are not there."""

import os
import threading
import weakref

_locks = weakref.WeakSet()


class ForkSafeLock:
    """What one thread at a time holds in a ``with``, as often as it likes.

    In a forked child all are open again but those that the forking thread holds. For work that is done whole or not at
    all by whoever comes next: what another thread had begun is not in order.
    """

    def __init__(self):
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()

    def renew(self):
        """Open it, unless it is held by this thread: only an RLock tells that."""
        if not self._lock._is_owned():
            self._lock = threading.RLock()


def _renew_after_fork():
    for lock in list(_locks):
        lock.renew()


os.register_at_fork(after_in_child=_renew_after_fork)
