"""The pool: a block is used again when nobody can see it any more, and not before."""

import gc
import signal
import threading
import weakref

import numpy as np
import pytest

from fastconv.backends.memory import Pool


def test_array_is_aligned_contiguous_and_as_asked():
    pool = Pool()
    for shape in ((), (0,), (3,), (5, 7), (1000, 33)):
        array = pool.empty(shape, np.float32)
        assert array.shape == shape
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.ctypes.data % 64 == 0


@pytest.mark.parametrize("see", [lambda a: a, lambda a: a[2:], lambda a: a.reshape(-1), lambda a: a[1:].T[::2]])
def test_block_is_kept_while_a_view_is_alive(see):
    pool = Pool()
    view = see(pool.empty((16, 8), np.float64))
    view[...] = 7
    others = [pool.empty((16, 8), np.float64) for _ in range(3)]
    for other in others:
        assert not np.shares_memory(view, other)
        other[...] = 0
    assert (view == 7).all()


def test_block_goes_back_with_the_last_view():
    pool = Pool()
    array = pool.empty((64, 64), np.float32)
    address, view = array.ctypes.data, array[1:]
    del array
    assert pool.empty((64, 64), np.float32).ctypes.data != address
    del view
    misses = pool.misses
    assert pool.empty((64, 63), np.float32).ctypes.data == address
    assert pool.misses == misses


def test_steady_use_allocates_once():
    pool = Pool()
    for _ in range(100):
        held = [pool.empty((n, n), np.float32) for n in (10, 100, 100)]
        del held
    assert pool.misses == 3


def test_threads_share_a_pool():
    pool, errors = Pool(), []

    def work(value):
        for _ in range(500):
            a = pool.empty((257,), np.int64)
            a[:] = value
            if (a != value).any():
                errors.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert pool.misses <= 4


def test_blocks_are_little_larger_than_asked(rng):
    """A fifth of a block is idle at most; of small ones half."""
    for size in [1, 63, 4096, 4097, 5000, *map(int, 2 ** rng.uniform(0, 24, 300))]:
        pool = Pool()
        array = pool.empty((size,), np.uint8)
        assert array.size == size
        assert size <= pool.nbytes <= (1.25 * size if size > 4096 else max(2 * size, 64)), size


def test_memory_that_is_not_there_is_not_counted():
    pool = Pool()
    with pytest.raises(MemoryError):
        pool.empty((1 << 60,), np.uint8)
    assert (pool.nbytes, pool.misses) == (0, 0)
    assert pool.empty((3,), np.float32).shape == (3,)


@pytest.mark.timeout(120, method="thread")  # it has the alarm for itself
def test_no_interrupt_is_lost():
    """An exception raised by a signal while blocks come and go reaches the caller, every time."""
    pool, caught = Pool(), 0

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for i in range(100):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + i * 1e-5)
                for _ in range(10_000_000):
                    pool.empty((100,), np.float32)
            except KeyboardInterrupt:
                caught += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught == 100


def test_a_pool_that_dies_gives_its_memory_back_at_once():
    """Blocks in use and idle ones, without a look for references in circles."""
    gc.collect()
    gc.disable()
    try:
        pool = Pool()
        kept, idle = (pool.empty((size,), np.float32) for size in (1000, 3000))
        blocks = [weakref.ref(array.base.base.base) for array in (kept, idle)]  # array -> block -> memory -> raw
        del idle
        assert all(block() is not None for block in blocks)
        del pool
        assert [block() is None for block in blocks] == [False, True]
        kept[:] = 1
        del kept
        assert blocks[0]() is None
    finally:
        gc.enable()
