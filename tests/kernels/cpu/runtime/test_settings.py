"""Environment variables of the kernels: one error for each mistake, before anything is compiled, and not for good."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fastconv.kernels.cpu.runtime import settings
from fastconv.kernels.cpu.runtime.settings import SettingError


@pytest.mark.parametrize("text", ["0", "-1", "abc", "2.5", "1e3", " 2", "1025", "99999999999999999999", "two", "²"])
def test_threads_that_cannot_be(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONV_NUM_THREADS", text)
    with pytest.raises(SettingError) as error:
        settings.threads_asked_for()
    assert str(error.value) == f"FASTCONV_NUM_THREADS: got {text!r}; allowed: a whole number from 1 to 1024"


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("1024", 1024), ("007", 7), ("", None)])
def test_threads_that_can(text: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONV_NUM_THREADS", text)
    assert settings.threads_asked_for() == expected


def test_bounds_are_checked_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, expected in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("FASTCONV_BOUNDSCHECK", text)
        assert settings.bounds_checked() is expected
    for text in ("yes", "2", "true"):
        monkeypatch.setenv("FASTCONV_BOUNDSCHECK", text)
        with pytest.raises(SettingError, match=f"FASTCONV_BOUNDSCHECK: got '{text}'; allowed: 0 or 1"):
            settings.bounds_checked()


def _numba(**changed):
    return SimpleNamespace(**{"DISABLE_JIT": 0, "CPU_FEATURES": None, "BOUNDSCHECK": None, **changed})


@pytest.mark.parametrize("features", [None, "", "+avx2", "+avx2,-avx512f", "-a,-b,+c"])
def test_settings_of_numba_that_it_can_do_with(features: str | None) -> None:
    settings.check_numba(_numba(CPU_FEATURES=features, BOUNDSCHECK=0))


@pytest.mark.parametrize("features", ["avx2", "1", "+avx2,avx", "+", "+avx2,", "*avx"])
def test_features_that_would_end_the_process(features: str) -> None:
    with pytest.raises(SettingError, match=r"NUMBA_CPU_FEATURES: got .*; allowed: names with"):
        settings.check_numba(_numba(CPU_FEATURES=features))


def test_a_check_of_bounds_that_another_variable_turns_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONV_BOUNDSCHECK", "1")
    settings.check_numba(_numba(BOUNDSCHECK=1))
    with pytest.raises(SettingError, match="NUMBA_BOUNDSCHECK: got 0; allowed"):
        settings.check_numba(_numba(BOUNDSCHECK=0))


AGAIN = """
import os
import numpy as np
import fastconv as fc
from fastconv.errors import ArgumentError
of_backends = (lambda: fc.get_backend(), lambda: fc.available_backends(), lambda: fc.set_backend("numba"))
x = np.ones((1, 3, 3, 1), np.float32)
of_algorithms = (lambda: fc.functional.conv2d(x, x[:, :1, :1]),) * 2
for name, value, asked in (("NUM_THREADS", "2.5", of_backends), ("ALGORITHM", "fft", of_algorithms)):
    os.environ[f"FASTCONV_{name}"] = value
    for ask in asked:
        try:
            ask()
        except ArgumentError as error:
            assert str(error).startswith(f"FASTCONV_{name}: got {value!r}; allowed: "), error
        else:
            raise SystemExit(f"no error of {name}")
    del os.environ[f"FASTCONV_{name}"]
print(fc.get_backend().name, fc.functional.relu(fc.asarray([[-1.0, 2.0]])))
"""


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def test_the_error_is_fastconvs_and_ends_with_its_cause() -> None:
    done = _run("-c", AGAIN)
    assert done.stdout == "numba [[0. 2.]]\n", done.stderr


@pytest.mark.slow  # two of them are in tests/cli/test_cli.py too
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FASTCONV_NUM_THREADS", "0"),
        ("FASTCONV_BOUNDSCHECK", "yes"),
        ("NUMBA_DISABLE_JIT", "1"),
        ("NUMBA_CPU_FEATURES", "abc"),
    ],
)
def test_the_command_says_it_in_one_line(name: str, value: str) -> None:
    done = _run("-m", "fastconv", "explain", "lenet5", **{name: value})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {name}: got ")


BROKEN = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "numba":
            raise {error}
sys.meta_path.insert(0, Broken())
from fastconv import backends
print(backends.available_backends(), backends.why_unavailable("numba"))
"""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ('ImportError("Numba needs NumPy 2.4 or less. Got NumPy 2.9.")', "Numba cannot be used: Numba needs NumPy 2.4"),
        ('ModuleNotFoundError("No module", name="numba")', "Numba is not installed; pip install numba"),
    ],
)
def test_a_numba_that_cannot_be_imported_makes_one_backend_less(error: str, said: str) -> None:
    done = _run("-c", BROKEN.format(error=error))
    assert done.stdout.startswith("('numpy'"), done.stderr
    assert f"backend 'numba': {said}" in done.stdout
