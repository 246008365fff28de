"""Choice of precision."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from fastconv import functional as F
from fastconv.algorithm import algorithm, get_algorithm
from fastconv.backends import get_backend, use_backend
from fastconv.backends.reference.backend import NumpyBackend
from fastconv.errors import ArgumentError, UnsupportedError
from fastconv.precision import get_precision, precision, set_precision


@pytest.fixture(autouse=True)
def _on_numpy():
    with use_backend("numpy"):
        yield


def test_default() -> None:
    assert get_precision() == "default"


def test_blocks_nest_and_end() -> None:
    with precision("strict"):
        with precision("default"):
            assert get_precision() == "default"
        assert get_precision() == "strict"
    with pytest.raises(ZeroDivisionError), precision("strict"):
        raise ZeroDivisionError
    assert get_precision() == "default"


def test_set_is_for_all_threads_and_a_block_for_its_own() -> None:
    seen = []
    set_precision("strict")
    with precision("default"):
        thread = threading.Thread(target=lambda: seen.append(get_precision()))
        thread.start()
        thread.join()
    assert seen == ["strict"]


@pytest.mark.parametrize("wrong", ["exact", None, 32])
def test_unknown_is_refused(wrong) -> None:
    with pytest.raises(ArgumentError, match=r"precision: got .*; allowed: strict, default, fast"):
        set_precision(wrong)
    with pytest.raises(ArgumentError, match="precision"), precision(wrong):
        pass


def test_what_the_backend_lacks_is_refused() -> None:
    message = "precision: got 'fast' with the backend 'numpy'; allowed: strict, default"
    with pytest.raises(UnsupportedError, match=message):
        set_precision("fast")
    with pytest.raises(UnsupportedError, match=message), precision("fast"):
        pass
    assert get_precision() == "default"


def test_fast_does_not_survive_a_change_of_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(NumpyBackend, "precisions", ("strict", "default", "fast"))
        set_precision("fast")
    with pytest.raises(UnsupportedError, match="fast"):
        get_precision()


def test_functions_pass_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    prepare = get_backend().prepare_conv2d_weight

    def spy(weight, **arguments):
        asked.append((arguments["geometry"].is_transposed, arguments["precision"]))
        return prepare(weight, **arguments)

    monkeypatch.setattr(get_backend(), "prepare_conv2d_weight", spy)
    x, weight = np.ones((1, 3, 3, 1)), np.ones((1, 1, 1, 1))
    F.conv2d(x, weight)
    with precision("strict"):
        F.conv2d_backward_input(x, weight, input_shape=x.shape)
    assert asked == [(False, "default"), (True, "strict")]


REFUSED = """
import fastconv as fc
from fastconv.errors import UnsupportedError
try:
    fc.set_precision("fast")
except UnsupportedError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("haswell", marks=pytest.mark.slow), "x86-64-v4"])
def test_refused_where_the_cpu_lacks_it(name: str) -> None:
    environment = {**os.environ, "NUMBA_CPU_NAME": name, "FASTCONV_BACKEND": "numba"}
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == (
        "precision: got 'fast' with the backend 'numba'; allowed: strict, default; it needs a CPU with the bfloat16 dot"
        " product (AVX512_BF16)"
    )


@pytest.mark.parametrize(
    ("choose", "active"),
    [
        (lambda: precision("strict"), get_precision),
        (lambda: algorithm("direct"), get_algorithm),
        (lambda: use_backend("numpy"), get_backend),
    ],
    ids=["precision", "algorithm", "backend"],
)
def test_an_interrupt_on_the_way_in_leaves_the_choice_as_it_was(choose, active):
    """At each line of fastconv in turn."""
    with use_backend("numba"):
        outer, before = sys.gettrace(), active()
        for number in itertools.count(1):
            lines = 0

            def trace(frame, event, argument, number=number):
                nonlocal lines
                if event == "line" and Path(frame.f_code.co_filename).parent.name in ("fastconv", "backends"):
                    lines += 1
                    if lines == number:
                        raise KeyboardInterrupt
                return trace

            sys.settrace(trace)
            try:
                with choose():
                    sys.settrace(outer)
                break
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(outer)
            assert active() == before
        assert number > 3
