"""Choice of algorithm: named, from shapes, measured and kept on disk."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv import functional as F
from fastconv.backends import use_backend
from fastconv.errors import ArgumentError, UnsupportedError

pytest.importorskip("numba")
from fastconv.kernels.cpu.conv import autotune

setting = importlib.import_module("fastconv.algorithm")  # fc.algorithm is what it defines


@pytest.fixture(autouse=True)
def _afresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Without choices in memory, with a directory for them, and with the setting put back."""
    monkeypatch.setattr(autotune, "cache_directory", lambda: tmp_path)
    monkeypatch.setattr(setting, "_default", "shapes")
    monkeypatch.setattr(autotune, "_warned", set())
    autotune._choices.cache_clear()
    with use_backend("numba"):
        yield
    autotune._choices.cache_clear()


def _launched(x: np.ndarray, weight: np.ndarray) -> set[str]:
    names: list[str] = []
    with fc.get_backend().trace(names.append):
        F.conv2d(x, weight, padding=1)
    return set(names)


@pytest.fixture
def arrays(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((2, 8, 8, 32), np.float32), rng.standard_normal((3, 3, 32, 32), np.float32)


def test_named_algorithms_are_taken(arrays) -> None:
    assert fc.get_algorithm() == "shapes"
    with fc.algorithm("direct"):
        assert "conv2d_direct" in _launched(*arrays)
        with fc.algorithm("winograd"):
            assert any("winograd" in name for name in _launched(*arrays))
        assert fc.get_algorithm() == "direct"
    fc.set_algorithm("direct")
    assert "conv2d_direct" in _launched(*arrays)


def test_blocks_are_for_their_own_thread() -> None:
    seen = []
    fc.set_algorithm("direct")
    with fc.algorithm("winograd"):
        thread = threading.Thread(target=lambda: seen.append(fc.get_algorithm()))
        thread.start()
        thread.join()
    assert seen == ["direct"]


@pytest.mark.parametrize("precision", ["default", "fast"])
def test_every_candidate_can_be_kept(precision, arrays, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if precision not in fc.get_backend().precisions:
        pytest.skip("this CPU has no bfloat16")
    seen: set[str] = set()

    def first(key, candidates, run):
        seen.update(algorithm.key for algorithm in candidates)
        return candidates[0]

    monkeypatch.setattr(autotune, "measured", first)
    with fc.precision(precision), fc.algorithm("tuned"):
        _launched(*arrays)
    assert len(seen) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in seen:
            autotune._save({name: name})
        assert autotune._read(tmp_path / "autotune.json") == {name: name for name in seen}


def test_winograd_only_where_it_can_compute_it(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((1, 9, 9, 4), np.float32), rng.standard_normal((3, 3, 4, 5), np.float32)
    with fc.algorithm("winograd"):
        y = F.conv2d(x, w, stride=2)
        assert any("winograd" in name for name in _launched(x, w))  # 4 channels do not pay, but can be done
    with use_backend("numpy"):
        np.testing.assert_allclose(y, F.conv2d(x, w, stride=2), rtol=1e-4, atol=1e-4)


def test_measured_choices_are_kept_and_shown(arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "autotune.json"
    with fc.algorithm("tuned"):
        first = F.conv2d(*arrays, padding=1)
    content = json.loads(path.read_text())
    ((key, chosen),) = content["choices"].items()
    assert key.startswith("forward (3, 3, 32, 32) float32 (2, 8, 8, 32)")
    assert chosen in ("winograd", "direct")

    # What is on disk decides from then on, in another process too.
    other = {"winograd": "direct", "direct": "winograd"}[chosen]
    path.write_text(json.dumps({**content, "choices": {key: other}}))
    autotune._choices.cache_clear()
    monkeypatch.setattr(autotune, "_ROUNDS", None)  # measuring again would fail
    with fc.algorithm("tuned"):
        second = F.conv2d(*arrays, padding=1)
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-3)
    model = fc.nn.Sequential(fc.nn.Conv2d(32, 3, padding=1)).build((8, 8, 32), seed=0)
    monkeypatch.setattr(autotune, "_ROUNDS", 1)
    with fc.algorithm("tuned"):
        (row,) = fc.explain(model, (2, 8, 8, 32)).rows
    name = {"winograd": "Winograd", "direct": "direct"}[other]
    assert row.reasons[0] == f"forward {name}: the faster one when measured"
    assert any(other in kernel for kernel in row.forward)


def test_a_layer_follows_a_change(arrays) -> None:
    x, _ = arrays
    model = fc.nn.Sequential(fc.nn.Conv2d(32, 3, padding=1)).build((8, 8, 32), seed=0)
    names: list[str] = []
    with fc.get_backend().trace(names.append):
        model.predict(x)
        with fc.algorithm("direct"):
            model.predict(x)
    assert any("winograd" in name for name in names)
    assert "conv2d_direct" in names


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"format": "another", "choices": {}}',
        '{"format": "fastconv autotune 1"}',
        '{"format": "fastconv autotune 1", "choices": {"forward": "fft"}}',
        '{"format": "fastconv autotune 1", "choices": ["winograd"]}',
        '{"format": "fastconv autotune 1", "choices": {"forward": 3}}',
        b"\xff\xfe\x00",
    ],
)
def test_an_impossible_file_is_ignored_with_one_warning(text, arrays, tmp_path: Path) -> None:
    path = tmp_path / "autotune.json"
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as seen, fc.algorithm("tuned"):
        warnings.simplefilter("always")
        for padding in (0, 1):
            F.conv2d(*arrays, padding=padding)
    assert [warning.category for warning in seen] == [autotune.AutotuneWarning]
    assert str(path) in str(seen[0].message)
    assert path.read_bytes() == data


def test_a_choice_that_cannot_be_is_measured_anew(rng: np.random.Generator, tmp_path: Path) -> None:
    """A key that names an algorithm which another precision has."""
    x, w = rng.standard_normal((1, 8, 8, 16), np.float32), rng.standard_normal((3, 3, 16, 16), np.float32)
    with fc.algorithm("tuned"):
        F.conv2d(x, w)
    path = tmp_path / "autotune.json"
    content = json.loads(path.read_text())
    (key,) = content["choices"]
    path.write_text(json.dumps({**content, "choices": {key: "bf16"}}))
    autotune._choices.cache_clear()
    with fc.algorithm("tuned"):
        F.conv2d(x, w)
    assert json.loads(path.read_text())["choices"][key] in ("winograd", "direct")


@pytest.mark.slow
def test_a_captured_step_measures_too(rng: np.random.Generator, tmp_path: Path) -> None:
    model = fc.models.lenet5(seed=0)
    trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1))
    x, y = rng.standard_normal((4, 32, 32, 3), np.float32), rng.integers(0, 10, 4).astype(np.int32)
    with fc.algorithm("tuned"):
        losses = [float(trainer.train_step(x, y)) for _ in range(4)]
    assert losses[-1] < losses[0]
    assert json.loads((tmp_path / "autotune.json").read_text())["choices"]


@pytest.mark.parametrize("wrong", ["fft", None, 3])
def test_unknown_is_refused(wrong) -> None:
    with pytest.raises(ArgumentError, match=r"algorithm: got .*; allowed: shapes, tuned, winograd, direct"):
        fc.set_algorithm(wrong)
    with pytest.raises(ArgumentError, match="algorithm"), fc.algorithm(wrong):
        pass


def test_what_the_backend_lacks_is_refused() -> None:
    with use_backend("numpy"):
        with pytest.raises(UnsupportedError, match="algorithm: got 'tuned' with the backend 'numpy'; allowed: shapes"):
            fc.set_algorithm("tuned")
        with fc.algorithm("shapes"):
            assert fc.get_algorithm() == "shapes"


def _process(value: str) -> subprocess.CompletedProcess:
    code = "import fastconv as fc; print(fc.get_algorithm())"
    environment = {**os.environ, "FASTCONV_ALGORITHM": value, "FASTCONV_BACKEND": "numba"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    from fastconv.cli import main

    assert main(["explain", "lenet5", "--batch-size", "2", "--algorithm", "direct", "--backend", "numba"]) == 0
    printed = capsys.readouterr().out
    assert "forward direct: asked for" in printed


@pytest.mark.parametrize(("value", "active"), [("tuned", "tuned"), pytest.param("", "shapes", marks=pytest.mark.slow)])
def test_environment_variable(value: str, active: str) -> None:
    assert _process(value).stdout.strip() == active


def test_environment_variable_of_another_word() -> None:
    done = _process("fft")
    assert done.returncode != 0
    assert "FASTCONV_ALGORITHM: got 'fft'; allowed: shapes, tuned, winograd, direct" in done.stderr
