"""The pool: a block is used again when nobody can see it any more, and not before."""

import ctypes
import gc
import os
import resource
import signal
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import memory
from fastconv.backends.memory import Pool, limit_files, usable_memory


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


MEGABYTE = 1 << 20


def test_what_is_idle_goes_back_when_asked_for():
    pool = Pool()
    held, other = pool.empty((MEGABYTE,), np.uint8), pool.empty((2, MEGABYTE), np.uint8)
    held[...] = 7
    address, view = held.ctypes.data, other[1:]
    assert pool.release() == 0
    del other, view
    assert pool.release() == 2 * MEGABYTE
    assert pool.nbytes == MEGABYTE
    assert (held == 7).all()
    del held
    assert pool.empty((MEGABYTE,), np.uint8).ctypes.data == address


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_what_goes_back_is_the_systems_again():
    """Blocks that others lie between stayed with the C library, while `free_memory` said that they had gone."""
    pool, kept, blocks = Pool(), [], []
    for _ in range(1000):
        blocks.append(pool.empty((100_000,), np.uint8))
        blocks[-1].fill(1)
        kept.append(bytearray(10_000))
    before = resident()
    blocks.clear()
    assert pool.release() > 100_000_000
    assert before - resident() > 80_000_000
    other = Pool()  # as of a captured step
    blocks = [other.empty((100_000,), np.uint8) for _ in range(1000)]
    for each in blocks:
        each.fill(1)
        kept.append(bytearray(10_000))
    before = resident()
    del blocks, each, other
    assert pool.release() == 0
    assert before - resident() > 80_000_000


def test_other_sizes_than_before_free_what_is_idle_beyond_a_limit():
    pool = Pool(3 * MEGABYTE)
    for _ in range(3):  # as each step of a training does
        held = [pool.empty((n, MEGABYTE), np.uint8) for n in (1, 2, 2)]
        del held
    assert (pool.misses, pool.nbytes) == (3, 5 * MEGABYTE)
    array = pool.empty((4, MEGABYTE), np.uint8)
    assert (pool.misses, pool.nbytes) == (4, 4 * MEGABYTE)
    del array
    pool.empty((1, MEGABYTE), np.uint8)
    assert pool.nbytes == MEGABYTE


@pytest.mark.parametrize("most_idle", [7, 4, 2])
def test_a_step_larger_than_the_limit_comes_to_take_no_new_memory(most_idle):
    """All of its arrays were mapped anew in each step, for ever."""
    pool, sizes = Pool(most_idle * MEGABYTE), [n * MEGABYTE // 4 for n in (6, 5, 4, 3)]

    def step():
        outputs = [pool.empty((size,), np.uint8) for size in sizes]
        while outputs:
            gradient = pool.empty((outputs[-1].size * 2 // 3,), np.uint8)
            del outputs[-1]
        del gradient

    for _ in range(60):
        step()
    misses, nbytes = pool.misses, pool.nbytes
    step()
    assert (pool.misses, pool.nbytes) == (misses, nbytes)
    assert pool.release() == nbytes <= 4 * most_idle * MEGABYTE
    pool.empty((3 * most_idle, MEGABYTE // 2), np.uint8)
    pool.empty((MEGABYTE,), np.uint8)
    assert pool.nbytes == MEGABYTE  # asked for, it has the limit from before


def test_what_is_never_wanted_again_leaves_the_limit_as_it_is():
    pool = Pool(2 * MEGABYTE)
    for _ in range(2):  # one model after the other
        for n in (1, 2, 4, 8):
            pool.empty((n, MEGABYTE), np.uint8)
            assert pool.nbytes <= (n + 2) * MEGABYTE


def test_what_is_in_use_does_not_count_as_idle():
    pool = Pool(3 * MEGABYTE)
    pool.empty((MEGABYTE,), np.uint8)
    held = [pool.empty((2, MEGABYTE), np.uint8) for _ in range(4)]
    assert pool.nbytes == 9 * MEGABYTE
    assert held[0].ctypes.data != held[1].ctypes.data


def test_a_pool_without_a_limit_keeps_everything():
    pool = Pool()
    for n in range(1, 9):
        pool.empty((n, MEGABYTE), np.uint8)
    assert pool.nbytes == 36 * MEGABYTE


def _make_scarce(monkeypatch, pool):
    """Let the system have no more memory as long as this pool holds some."""
    empty = np.empty

    def scarce(shape, dtype):
        if pool.nbytes:
            raise MemoryError
        return empty(shape, dtype)

    monkeypatch.setattr(memory.np, "empty", scarce)


def test_what_is_captured_has_the_idle_memory_of_others_before_the_system_has_none(monkeypatch):
    pool = Pool(1 << 40)
    captured = Pool(spare=pool.release)
    pool.empty((MEGABYTE,), np.uint8)
    _make_scarce(monkeypatch, pool)
    assert captured.empty((2, MEGABYTE), np.uint8).shape == (2, MEGABYTE)
    assert (pool.nbytes, captured.nbytes) == (0, 2 * MEGABYTE)


@pytest.mark.parametrize(("most_idle", "misses"), [(1 << 40, 2), (None, 1)])
def test_idle_memory_goes_back_before_the_system_has_none(monkeypatch, most_idle, misses):
    """But for what was captured, whose kernels know the addresses."""
    pool = Pool(most_idle)
    pool.empty((MEGABYTE,), np.uint8)
    _make_scarce(monkeypatch, pool)
    if most_idle is None:
        with pytest.raises(MemoryError):
            pool.empty((2, MEGABYTE), np.uint8)
    else:
        assert pool.empty((2, MEGABYTE), np.uint8).shape == (2, MEGABYTE)
    assert pool.misses == misses


def test_the_memory_of_a_container_is_what_it_may_use(tmp_path):
    machine = usable_memory(())
    assert machine > 1 << 28
    limit, unlimited = tmp_path / "limit", tmp_path / "max"
    limit.write_text("1000000\n")
    unlimited.write_text("max\n")
    assert usable_memory([str(unlimited), str(tmp_path / "none")]) == machine
    assert usable_memory([str(unlimited), str(limit)]) == 1_000_000


@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_what_the_shell_limits_a_process_may_not_use(monkeypatch, kind):
    limits = {kind: 3_000_000}
    monkeypatch.setattr(memory.resource, "getrlimit", lambda each: (limits.get(each, resource.RLIM_INFINITY), -1))
    assert usable_memory(()) == 3_000_000
    assert memory.idle_limit() <= 3_000_000 // 8


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/job/step\n", ["job/step/memory.max"]),
        ("0::/job/step\n", ["job/memory.max"]),
        ("0::/job/step/../other\n", ["memory.max"]),  # of a container, whose own group that is
        ("3:cpu,memory:/job/step\n0::/\n", ["memory/job/memory.limit_in_bytes"]),
        ("2:cpu:/job\n4:memory:/not/seen\n", ["memory/memory.limit_in_bytes"]),
        (None, ["memory.max"]),
    ],
)
def test_the_limit_of_a_job_is_found_where_its_group_or_one_around_it_has_it(tmp_path, groups, files):
    """On the nodes of a cluster it stands nowhere else, and an eighth of a node may be more than the whole job has."""
    root, told = tmp_path / "groups", tmp_path / "told"
    if groups is not None:
        told.write_text(groups)
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("1000000\n")
    (tmp_path / "memory.max").write_text("5\n")  # outside
    assert usable_memory(limit_files(root, told)) == 1_000_000


def test_arrays_in_use_and_captured_ones_stay(backend, rng):
    x = rng.standard_normal((8, 6, 6, 2), dtype=np.float32)
    y = np.zeros(8, np.int32)
    with fc.use_backend(backend.name):

        def trained(*, freed):
            model = fc.nn.Sequential(
                fc.nn.Conv2d(4, 3, padding=1), fc.nn.ReLU(), fc.nn.GlobalAvgPool2d(), fc.nn.Dense(3)
            ).build((6, 6, 2), seed=1)
            trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.Adam(model.parameters()), seed=0)
            plan = model.compile(x.shape)
            for _ in range(4):
                trainer.train_step(x, y)
                if freed:
                    assert fc.free_memory() >= 0
            return [fc.to_numpy(each).tobytes() for each in (model(x), plan(x))]

        assert trained(freed=True) == trained(freed=False)
        fc.free_memory()
        assert fc.free_memory() == 0


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
