"""The word that is said once when kernels take long to compile."""

import logging
from types import SimpleNamespace

import pytest

compile_note = pytest.importorskip("fastconv.backends.cpu.compile_note")


@pytest.fixture
def said(monkeypatch):
    """What is logged."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    monkeypatch.setattr(logging.getLogger("fastconv"), "handlers", [handler])
    return messages


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(compile_note, "perf_counter", lambda: now.seconds)
    return now


def spend(note, clock, *seconds):
    """Compile one kernel after another, each with a part inside."""
    for taken in seconds:
        note.on_start(None)
        clock.seconds += taken / 2
        note.on_start(None)
        note.on_end(None)
        clock.seconds += taken / 2
        note.on_end(None)
        clock.seconds += 100  # what is not compiling does not count


@pytest.mark.parametrize(
    ("seconds", "told"), [([1.9], 0), ([0.5] * 4, 0), ([0.5] * 5, 1), ([2.1], 1), ([60.0], 1), ([5.0] * 9, 1)]
)
def test_it_is_said_once_and_not_for_little(seconds, told, clock, said):
    spend(compile_note.CompileNote(), clock, *seconds)
    assert said == [compile_note.TEXT] * told


def test_it_is_said_while_a_long_kernel_is_compiled(clock, said):
    note = compile_note.CompileNote()
    note.on_start(None)
    clock.seconds = 2.5
    note.on_start(None)  # its next part
    assert said == [compile_note.TEXT]


def test_kernels_that_are_compiled_are_counted(monkeypatch, said):
    """Numba tells of them."""
    import numpy as np

    from fastconv.backends import use_backend
    from fastconv.kernels.cpu.runtime.launch import kernel, launch

    monkeypatch.setattr(compile_note, "PATIENCE", 0.0)
    note = compile_note.CompileNote()

    @kernel
    def fill_for_the_note(begin, end, out, value):
        for i in range(begin, end):
            out[i] = value

    fill_for_the_note._cache.disable()
    out = np.zeros(8, np.float32)
    with use_backend("numba"), compile_note.event.install_listener("numba:compile", note):
        launch(fill_for_the_note, 8, out, np.float32(3))
    assert out.tolist() == [3] * 8
    assert compile_note.TEXT in said
    assert len(compile_note.TEXT) <= 80
