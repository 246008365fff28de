"""The commands that look and do not train: summary, explain, info, gradcheck, warmup."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import backends, nn
from fastconv.backends.reference.backend import NumpyBackend
from fastconv.cli import gradcheck, info, main
from fastconv.losses import LOSSES

from .commands import fails


def test_summary_prints_layers(capsys):
    assert main(["summary", "keras_cnn"]) == 0
    assert "1,250,858" in capsys.readouterr().out


@pytest.mark.parametrize("shape", [(16, 16, 1), (48, 40, 5)])
def test_summary_is_of_the_input_shape(capsys, shape):
    assert main(["summary", "keras_cnn", "--input-shape", *map(str, shape)]) == 0
    out = capsys.readouterr().out
    with fc.use_backend("numpy"):
        count = fc.models.keras_cnn(input_shape=shape).parameters().count
    assert f"input {' x '.join(map(str, shape))}, " in out
    assert f"{count:,}" in out
    assert count != 1_250_858


@pytest.mark.slow
def test_explain_prints_kernels_of_the_batch(capsys):
    assert main(["explain", "lenet5", "--batch-size", "2"]) == 0
    out = capsys.readouterr().out
    assert "input (2, 32, 32, 3)" in out
    assert "forward direct: 3 channels are fewer than 16" in out
    assert "conv2d_direct" in out


def test_a_trace_that_cannot_be_written_is_refused_first(capsys, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for place in ("/dev/full", ".", "/proc/nowhere/trace.json", "loop", "loop/trace.json", "x" * 300):
        assert main(["profile", "lenet5", "--batch-size", "1", "--trace", place, "--backend", "numpy"]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "--trace: got '" in said.err


def test_profile_prints_times_and_writes_a_trace(capsys, tmp_path):
    path = tmp_path / "step.json"
    words = ["--batch-size", "2", "--repeats", "1", "--trace", str(path), "--backend", "numpy"]
    assert main(["profile", "lenet5", *words]) == 0
    out = capsys.readouterr().out
    assert "input (2, 32, 32, 3), backend numpy" in out
    assert "backward ms" in out
    assert f"trace     {path}" in out
    names = {event["name"] for event in json.loads(path.read_text())["traceEvents"]}
    assert any("Conv2d" in name for name in names)


def test_info_prints_what_is_there(capsys, monkeypatch):
    monkeypatch.setenv("FASTCONV_DATA_DIR", "/nowhere/at/all")
    assert main(["info", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    for words in (np.__version__, "/nowhere/at/all (not there)", "cuda-emulator", "unusable: ", "threads"):
        assert words in out
    assert all(character.isprintable() or character == "\n" for character in out)


def test_info_works_with_a_backend_that_is_none(capsys, monkeypatch):
    monkeypatch.setenv("FASTCONV_BACKEND", "abacus")
    monkeypatch.setattr("fastconv.backends._default", None)
    assert main(["info"]) == 0
    assert "FASTCONV_BACKEND: got 'abacus'" in capsys.readouterr().out


def test_info_works_with_an_algorithm_that_is_none(capsys, monkeypatch):
    def refuse():
        raise fc.errors.ArgumentError("FASTCONV_ALGORITHM: got 'fft'")

    monkeypatch.setattr(info, "get_algorithm", refuse)
    assert main(["info", "--backend", "numpy"]) == 0
    assert re.search(r"algorithm +none: FASTCONV_ALGORITHM: got 'fft'\n", capsys.readouterr().out)


def test_info_shows_the_command_that_it_recommends(capsys, monkeypatch):
    reason = "CuPy is not installed; pip install 'fastconv[cuda12]' (or cuda13) [/b] :smile:"

    def load(name):
        raise fc.errors.BackendUnavailableError(reason)

    monkeypatch.setattr(backends, "_instances", {k: v for k, v in backends._instances.items() if k != "cupy"})
    loaded = backends._load
    monkeypatch.setattr(backends, "_load", lambda name: load(name) if name == "cupy" else loaded(name))
    assert main(["info", "--backend", "numpy"]) == 0
    assert f"unusable: {reason}\n" in capsys.readouterr().out


def test_info_prints_its_tables_and_fails_without_the_kernels_of_the_cpu(capsys, monkeypatch):
    broken = fc.errors.BackendUnavailableError("backend 'numba': no good")
    why = info._why_unusable
    monkeypatch.setattr(info, "_why_unusable", lambda name: broken if name == "numba" else why(name))
    assert main(["info", "--backend", "numpy"]) == 2
    out, err = capsys.readouterr()
    assert err == "error: backend 'numba': no good\n"
    assert "unusable: backend 'numba': no good" in out
    assert "environment" in out


@pytest.fixture
def few_layers(monkeypatch):
    kept = ("Conv2d 3x3", "SiLU", "small network")
    monkeypatch.setattr(gradcheck, "_LAYERS", {name: gradcheck._LAYERS[name] for name in kept})
    monkeypatch.setattr(gradcheck, "LOSSES", {"huber": LOSSES["huber"]})


def test_gradcheck_leaves_no_layer_out():
    public = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    public = {name for name in public if issubclass(getattr(nn, name), nn.Layer)} - {"Layer"}
    checked = {type(layer).__name__ for make, _ in gradcheck._LAYERS.values() for layer in make().walk()}
    assert public <= checked


def test_gradcheck_passes_on_numpy(capsys):
    assert main(["gradcheck", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    assert f"all {len(gradcheck._LAYERS) + len(LOSSES)} passed on numpy" in out
    assert "FAILED" not in out


def test_gradcheck_fails_on_a_wrong_gradient(capsys, monkeypatch, few_layers):
    right = NumpyBackend.activate_backward

    def wrong(self, activation, grad_output, saved, *, out):
        right(self, activation, grad_output, saved, out=out)
        if activation.name == "silu":
            out *= 1.001

    monkeypatch.setattr(NumpyBackend, "activate_backward", wrong)
    assert main(["gradcheck", "--backend", "numpy"]) == 1
    out = capsys.readouterr().out
    assert "2 of 4 FAILED on numpy: SiLU, small network" in out  # the layer, and the network that has one
    assert "SiLU" in next(line for line in out.splitlines() if line.endswith("small network"))


def test_gradcheck_draws_inputs_and_directions_from_its_seed(monkeypatch, few_layers):
    seen = []
    check = gradcheck.gradcheck

    def spy(function, x, *, seed, **more):
        seen.append((x.tobytes(), seed))
        return check(function, x, seed=seed, **more)

    monkeypatch.setattr(gradcheck, "gradcheck", spy)
    monkeypatch.delitem(gradcheck._LAYERS, "small network")
    for seed in ("0", "0", "1"):
        assert main(["gradcheck", "--backend", "numpy", "--seed", seed]) == 0
    first, again, other = seen[:3], seen[3:6], seen[6:]
    assert first == again
    assert [seed for _, seed in first + other] == [0, 0, 0, 1, 1, 1]
    assert not {x for x, _ in first} & {x for x, _ in other}


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_gradcheck_refuses_a_seed_out_of_range(capsys, seed):
    assert f"seed: got {seed}; allowed: " in fails(capsys, "gradcheck", "--backend", "numpy", "--seed", seed)


def test_warmup_runs_the_models_it_is_given(capsys, monkeypatch):
    from fastconv.cli import warmup

    done = []
    monkeypatch.setattr(warmup, "_run_once", lambda name, batch: done.append((name, batch)))
    assert main(["warmup", "mlp", "lenet5", "--batch-size", "3", "--backend", "numba"]) == 0
    assert done == [("mlp", 3), ("lenet5", 3)]
    assert re.fullmatch(r"mlp: ready after \d+\.\d s\nlenet5: ready after \d+\.\d s\n", capsys.readouterr().out)


def test_warmup_says_where_nothing_is_compiled(capsys, monkeypatch):
    from fastconv.cli import warmup

    monkeypatch.setattr(warmup, "_run_once", lambda *_: pytest.fail("ran a model"))
    assert main(["warmup", "--backend", "numpy"]) == 0
    assert capsys.readouterr().out == "numpy: nothing to compile\n"


@pytest.mark.slow
def test_warmup_fills_the_cache_so_that_a_new_process_compiles_nothing(tmp_path):
    environment = os.environ | {"FASTCONV_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "fastconv", "warmup", "mlp", "--batch-size", "4"]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    assert re.fullmatch(r"mlp: ready after \d+\.\d s\n", first.stdout)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.kernel")}
    assert kept
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=300)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.kernel")} == kept
