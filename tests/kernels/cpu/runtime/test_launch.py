"""The thread team: right results from any number of threads and callers, across fork and spawn, whatever goes wrong."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fastconv.kernels.cpu.elementwise.maps import scale
from fastconv.kernels.cpu.runtime import launch as launching
from fastconv.kernels.cpu.runtime.float_state import flush_subnormals
from fastconv.kernels.cpu.runtime.launch import kernel, launch, set_num_threads, thread_rows
from fastconv.kernels.cpu.vector.memory import TASK_ELEMENTS
from tests.kernels.cpu.runtime.counting import add_one, count_tasks, wait_and_count

pytestmark = pytest.mark.usefixtures("two_threads")


@kernel
def divide_tiny(begin, end, x, out):
    for task in range(begin, end):
        out[task] = x[task] * np.float32(0.5)


def _scaled(size=20 * TASK_ELEMENTS + 5):
    x = np.arange(size, dtype=np.float32)
    out = np.empty_like(x)
    scale(x, factor=3.0, out=out)
    return np.array_equal(out, 3 * x)


@kernel
def note_calls(begin, end, counts):
    counts[begin] = end - begin


def test_many_tasks_are_taken_while_many_are_left():
    """Half of a thread's equal share at first; single chunks, of which there are 128, at the end."""
    counts = np.zeros(1280, np.int64)
    launch(note_calls, 1280, counts)
    assert counts.sum() == 1280
    assert counts[0] == 320
    assert counts[1270] == 10
    assert 8 < np.count_nonzero(counts) < 32


@kernel
def refuse_negative(begin, end, x):
    if x[0] < 0:
        raise ValueError("negative")


def test_what_fails_inside_a_program_is_an_error_and_where_it_is_a_condition_an_answer():
    x = np.zeros(1)
    with launching.record() as plain:
        launch(refuse_negative, 1, x)
    with launching.record() as conditional:
        launching.launch_condition(refuse_negative, x)
    assert plain.run()
    assert conditional.run()
    x[0] = -1
    with pytest.raises(RuntimeError, match="kernel refuse_negative: failed inside a program"):
        plain.run()
    assert not conditional.run()


@pytest.mark.parametrize("nbytes", [8, 64, 100, 4096])
def test_scratch_of_each_thread_begins_on_a_cache_line(nbytes):
    kept = [thread_rows(nbytes, np.float64) for _ in range(8)]  # one could lie there by chance
    every = [row for rows in kept for row in rows]
    assert len(every) == 8 * launching.get_num_threads()
    for number, row in enumerate(every):
        assert row.nbytes >= nbytes
        assert row.ctypes.data % 64 == 0
        row[:] = number
    assert all((row == number).all() for number, row in enumerate(every))


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("tasks", [0, 1, 2, 3, 7, 64])
def test_every_task_is_done_once(threads, tasks):
    set_num_threads(threads)
    counts = np.zeros(tasks, np.int64)
    scratch = np.zeros((threads, 8), np.int64)
    launch(count_tasks, tasks, counts, scratch=scratch)
    assert (counts == 1).all()
    assert scratch[:, 0].sum() == tasks


def test_helpers_take_part():
    """With tasks long enough for a sleeping helper to wake, both threads work, sooner or later on a busy machine."""
    scratch = np.zeros((2, 8), np.int64)
    used = np.zeros(2)
    for _ in range(2000):
        if used.min() > 0:
            break
        counts = np.zeros(8)
        launch(wait_and_count, 8, 200_000, counts)
        scratch[:] = 0
        launch(count_tasks, 100_000, np.zeros(100_000, np.int64), scratch=scratch)
        used += scratch[:, 0] > 0
    assert used.min() > 0


def test_callers_on_several_threads():
    wrong = []

    def call():
        wrong.extend(i for i in range(100) if not _scaled())

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_forked_child_computes():
    assert _scaled()
    child = os.fork()
    if child == 0:
        os._exit(0 if _scaled() and _scaled() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert _scaled()


def test_fork_while_others_compute():
    stop = threading.Event()

    def keep_busy():
        while not stop.is_set():
            _scaled()

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                os._exit(0 if _scaled() else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


def test_spawned_process_computes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_scaled)


def test_interrupt_arrives_and_nothing_hangs():
    code = """
import numpy as np, sys
from fastconv.kernels.cpu.elementwise.maps import scale
x = np.ones(1 << 20, np.float32)
out = np.empty_like(x)
scale(x, factor=2.0, out=out)
print("ready", flush=True)
try:
    while True:
        scale(x, factor=2.0, out=out)
except KeyboardInterrupt:
    scale(x, factor=2.0, out=out)
    print("interrupted", (out == 2).all(), flush=True)
"""
    # A test run in the background of a shell ignores SIGINT, and its children would inherit that.
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = threading.Timer(60, process.kill)
    deadline.start()
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        deadline.cancel()
        process.kill()
    assert out == "interrupted True\n"
    assert process.returncode == 0


def test_subnormals_are_flushed_inside_and_not_outside():
    x = np.full(8, 1e-38, np.float32)
    out = np.empty_like(x)
    half = x[0] * np.float32(0.5)
    assert half > 0
    launch(divide_tiny, 8, x, out)
    assert (out == 0).all()
    assert x[0] * np.float32(0.5) == half


def test_float_state_belongs_to_the_thread():
    found = []

    def flush():
        flush_subnormals()
        found.append(np.float32(1e-38) * np.float32(0.1))

    thread = threading.Thread(target=flush)
    thread.start()
    thread.join()
    assert found == [0]
    assert np.float32(1e-38) * np.float32(0.1) > 0


def test_numbers_of_threads_from_the_environment():
    code = "from fastconv.kernels.cpu.runtime.launch import get_num_threads; print(get_num_threads())"
    for value, expected in (("3", "3\n"), ("1", "1\n")):
        environment = os.environ | {"FASTCONV_NUM_THREADS": value}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == expected


def _recorded(x, out, between):
    with launching.record() as program:
        scale(x, factor=2.0, out=between)
        scale(between, factor=3.0, out=out)
        launch(count_tasks, 20, np.zeros(20, np.int64), scratch=np.zeros((2, 8), np.int64))
    return program


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_program_runs_what_was_recorded(threads):
    set_num_threads(threads)
    for size in (5, 3 * TASK_ELEMENTS + 1):
        x = np.arange(size, dtype=np.float32)
        out, between = np.zeros_like(x), np.zeros_like(x)
        program = _recorded(x, out, between)
        assert program.names == ["scale_array", "scale_array", "count_tasks"]
        assert not out.any()  # recorded, not run
        for _ in range(3):
            program.run()
            assert np.array_equal(out, 6 * x)
            x += 1


def test_program_keeps_its_arrays_alive_and_runs_with_another_number_of_threads():
    x, out = np.ones(5 * TASK_ELEMENTS, np.float32), np.zeros(5 * TASK_ELEMENTS, np.float32)
    set_num_threads(4)
    program = _recorded(x, out, np.zeros_like(x))
    for threads in (1, 2, 4, 3):
        set_num_threads(threads)
        out[:] = 0
        program.run()
        assert (out == 6).all()


def test_programs_on_several_threads_while_others_launch():
    wrong = []

    def run():
        x = np.arange(3 * TASK_ELEMENTS, dtype=np.float32)
        out, between = np.zeros_like(x), np.zeros_like(x)
        program = _recorded(x, out, between)
        for _ in range(100):
            out[:] = 0
            program.run()
            wrong.extend([1] * (not np.array_equal(out, 6 * x)))

    def call():
        wrong.extend(i for i in range(100) if not _scaled(3 * TASK_ELEMENTS))

    threads = [threading.Thread(target=target) for target in (run, call, run, call)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_recording_is_for_its_own_thread_and_ends():
    counts = np.zeros(4, np.int64)
    with launching.record() as program:
        thread = threading.Thread(target=launch, args=(add_one, 4, counts))
        thread.start()
        thread.join()
    assert program.names == []
    launch(add_one, 4, counts)
    assert (counts == 2).all()
    program.run()  # of no launch


@pytest.mark.slow
def test_program_that_fails_names_the_kernel_and_leaves_the_team_usable():
    code = """
import numpy as np
from fastconv.kernels.cpu.runtime.launch import kernel, launch, record, set_num_threads
set_num_threads(2)
@kernel
def overrun(begin, end, x):
    for task in range(begin, end):
        x[task + 5] += 1
with record() as program:
    launch(overrun, 64, np.zeros(69))
    launch(overrun, 64, np.zeros(64))
for _ in range(20):
    try:
        program.run()
    except RuntimeError as error:
        assert "kernel overrun" in str(error)
        continue
    raise SystemExit("no error")
out = np.zeros(69)
launch(overrun, 64, out)
assert out.sum() == 64
"""
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
