"""Who listens to a backend is told of each kernel when it begins, and when it has ended."""

import numpy as np
import pytest

import fastconv as fc

BACKENDS = ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)]


def told(backend, run, *, ends=True):
    """Return what is said while `run` runs: names, with a dash before each end."""
    said = []

    def note(name):
        said.append(name)
        return (lambda: said.append(f"-{name}")) if ends else None

    with backend.trace(note):
        run()
    return said


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("ends", [True, False])
def test_ends_are_told_if_they_are_asked_for(name, ends):
    with fc.use_backend(name) as backend:
        x, out = backend.asarray(np.arange(5, dtype=np.float32)), backend.empty((5,), np.float32)

        def run():
            backend.copy(x, out=out)
            backend.scale(x, factor=2.0, out=out)

        said = told(backend, run, ends=ends)
        kernels = [each for each in said if each[0] != "-"]
        assert len(kernels) == 2
        assert said == ([kernels[0], f"-{kernels[0]}", kernels[1], f"-{kernels[1]}"] if ends else kernels)
        np.testing.assert_array_equal(backend.to_numpy(out), np.arange(0, 10, 2))


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("count", [1, 2])
def test_of_what_was_captured_the_end_is_told_if_it_is_one_kernel(name, count):
    with fc.use_backend(name) as backend:
        x, out = backend.asarray(np.arange(5, dtype=np.float32)), backend.empty((5,), np.float32)

        def run():
            for _ in range(count):
                backend.copy(x, out=out)

        said = told(backend, backend.capture(run))
        assert len([each for each in said if each[0] != "-"]) == count
        assert len(said) == (2 if count == 1 else count)
        np.testing.assert_array_equal(backend.to_numpy(out), np.arange(5))


def test_an_inner_listener_is_told_instead():
    with fc.use_backend("numba") as backend:
        x, out, said = np.ones(5, np.float32), np.empty(5, np.float32), []

        def note(name):
            said.append(name)
            return lambda: said.append("-")

        with backend.trace(note):
            backend.copy(x, out=out)
            with backend.trace(lambda name: None):
                backend.copy(x, out=out)
            backend.copy(x, out=out)
    assert [each != "-" for each in said] == [True, False, True, False]
