"""The run-book for a GPU, as far as it can be run without one: on the emulator, and with PyTorch on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastconv as fc
from benchmarks import gpu, gpu_ops, gpu_probes, gpu_record, gpu_small, gpu_steps
from benchmarks.gpu_layers import LAYERS
from benchmarks.shapes import Conv
from fastconv.errors import BackendUnavailableError
from tests.backends.emulated import emulator_or_skip


@pytest.mark.parametrize("stage", [*gpu.STAGES, "all"])
def test_without_a_gpu_each_stage_says_so(stage, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu_record, "get_backend", _unavailable)
    assert gpu.main([stage, "--out", str(tmp_path)]) == 2
    assert "no GPU to run on: backend 'cupy': no driver" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def _unavailable(name: str) -> None:
    raise BackendUnavailableError(f"backend {name!r}: no driver")


def test_a_stage_that_is_none_is_refused(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        gpu.main(["everything"])
    assert caught.value.code == 2
    assert "tests" in capsys.readouterr().err


def test_saved_probes_are_the_emulators(monkeypatch, tmp_path) -> None:
    """Every leaf function has a probe, and the answers kept are those of now."""
    backend = emulator_or_skip()
    rows = gpu_probes.compare_with_saved(backend)
    assert all(row["differences"] == 0 and row["agrees"] for row in rows)
    text = Path(gpu_probes.build.__file__).with_name("ptx.cuh").read_text()
    lines = [line for line in text.splitlines() if line.startswith(("__device__", "template"))]
    leaves = {line.split("(")[0].split()[-1] for line in lines}
    called = " ".join(probe.body for probe in gpu_probes.probes())
    assert {leaf for leaf in leaves if f"{leaf}(" not in called and f"{leaf}<" not in called} == set()


def test_a_probe_that_differs_is_told(monkeypatch, tmp_path) -> None:
    backend = emulator_or_skip()
    record = json.loads(gpu_probes.SAVED.read_text())
    answer = record["probes"]["to_bf16"]["answer"]
    record["probes"]["to_bf16"]["answer"] = answer[:8] + "ffff" + answer[12:]
    changed = tmp_path / "probes.json"
    monkeypatch.setattr(gpu_probes, "SAVED", changed)
    changed.write_text(json.dumps(record))
    rows = {row["probe"]: row for row in gpu_probes.compare_with_saved(backend)}
    assert (rows["to_bf16"]["agrees"], rows["to_bf16"]["first"][0]["place"]) == (False, 2)
    assert rows["to_half"]["agrees"]
    del record["probes"]["to_half"]
    changed.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"to_half: no answer kept; run python -m benchmarks\.gpu save-probes"):
        gpu_probes.compare_with_saved(backend)


def test_sanitizer_output_is_read() -> None:
    clean = gpu.sanitizer_row("memcheck", 0, "========= ERROR SUMMARY: 0 errors\n")
    assert (clean["errors"], clean["exit"]) == (0, 0)
    assert gpu.sanitizer_row("memcheck", 0, "========= ERROR SUMMARY: 12 errors\n")["errors"] == 12
    races = "========= RACECHECK SUMMARY: 3 hazards displayed (3 errors, 0 warnings)\n"
    assert gpu.sanitizer_row("racecheck", 0, races)["errors"] == 3
    assert (
        gpu.sanitizer_row("memcheck", 1, "========= ERROR SUMMARY: 0 errors\n")["errors"] is None
    )  # the program failed
    assert gpu.sanitizer_row("memcheck", 0, "Device not supported")["errors"] is None


def test_reports_of_pytest_are_read() -> None:
    text = """<testsuites><testsuite><testcase name="a"/><testcase name="b"><skipped/></testcase>
    <testcase name="c"><failure message="wrong bits">long</failure></testcase></testsuite></testsuites>"""
    assert gpu.test_rows(text) == [
        {"passed": 1, "failed": 1, "skipped": 1},
        {"test": "c", "message": "wrong bits"},
    ]


def test_comparison_and_ratio() -> None:
    order, clock = [], lambda run, times: run() or 2e-6 * times
    found = gpu_record.compare({n: lambda n=n: order.append(n) for n in "ab"}, clock, rounds=3, times=5)
    assert order == ["a", "b"] * 4  # a warm-up, then in turn
    assert found["medians"] == {"a": pytest.approx(10), "b": pytest.approx(10)}
    assert len(found["microseconds"]["a"]) == 3
    medians = {"fastconv": 8.0, "fastconv graph": 5.0, "torch": 9.0, "torch graph": 6.0}
    assert gpu_record.ratio(medians) == {"best": "fastconv graph", "peer": "torch graph", "ratio": 1.2}
    assert gpu_record.ratio({"fastconv": 1.0}) == {}


def test_record_names_the_device(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(gpu_record, "driver", lambda: "580.1")
    runtime = SimpleNamespace(
        getDeviceProperties=lambda i: {"name": b"H100", "multiProcessorCount": 132, "totalGlobalMem": 1 << 36},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
    )
    device = SimpleNamespace(id=0, compute_capability="90")
    cupy = SimpleNamespace(__version__="14.2", cuda=SimpleNamespace(runtime=runtime, Device=lambda: device))
    torch = SimpleNamespace(__version__="2.11", backends=SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 91000)))
    where = gpu_record.environment(cupy, torch)
    path = gpu_record.write(tmp_path / "new", "ops", "python -m benchmarks.gpu ops", where, [{"layer": "x"}])
    record = json.loads(path.read_text())
    assert path.name == "gpu_ops.json"
    assert record["rows"] == [{"layer": "x"}]
    names = {"device", "driver", "cupy", "torch", "cudnn", "date", "command", "compute_capability", "python"}
    assert names <= set(record)
    assert record["device"] == "H100"


def _seconds(run, times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - begin) / times


@pytest.mark.emulator
def test_the_small_set_trains_on_the_emulator() -> None:
    """Every kernel of the tensor cores runs in it."""
    emulator_or_skip()
    names: list[str] = []
    with fc.use_backend("cuda-emulator") as backend, backend.trace(names.append):
        losses = gpu_small.run()
    assert np.isfinite(losses).all()
    assert losses[1] != losses[0]
    wanted = {"conv2d_gather", "conv2d_halo", "conv2d_weight", "conv2d_plain", "conv2d_depthwise", "pack_input"}
    assert wanted <= set(names)


@pytest.mark.emulator
def test_the_tests_for_a_gpu_pass_on_a_fake_one() -> None:
    chosen = "gradients or step_gives or training_follows or refused or out_of_memory"
    command = ["-m", "pytest", "-q", "-p", "tests.backends.fake_gpu", "-m", "gpu", "tests/backends/test_gpu.py"]
    done = subprocess.run(
        [sys.executable, *command, "-k", chosen],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "7 passed" in done.stdout


@pytest.mark.peer
@pytest.mark.parametrize("precision", ["default", "fast"])
@pytest.mark.parametrize("direction", ["forward", "backward_input", "backward_weight"])
@pytest.mark.parametrize("name", ["stem_3_64_at_32", "stride2_64_128_at_32", "1x1_64_256_at_16"])
def test_a_pass_is_measured(name: str, direction: str, precision: str) -> None:
    """The emulator against PyTorch on the CPU: same results, all contenders timed."""
    torch = pytest.importorskip("torch")
    emulator_or_skip()
    layer = next(conv for conv in LAYERS if conv.name == name)
    small = Conv("small", min(layer.channels, 8), 6, 12, layer.kernel, layer.stride, layer.padding, batch=2)
    how = {"device": "cpu", "rounds": 1, "times": 1, "sets": 2}
    with fc.use_backend("cuda-emulator") as backend:
        row = gpu_ops.measure_pass(torch, backend, _seconds, small, direction, precision, **how)
    assert set(row["medians"]) == {"fastconv", "fastconv graph", "torch"}
    assert row["difference"] < {"default": 5e-3, "fast": 2e-2}[precision]
    assert row["ratio"] > 0


@pytest.mark.peer
def test_a_step_is_measured_and_a_failing_peer_is_noted(monkeypatch) -> None:
    """On the CPU's backend, at a batch that is quick; what does not run costs nobody else."""
    torch = pytest.importorskip("torch")

    def broken(*args: object, **keywords: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", broken)
    with fc.use_backend("numba"):
        how = {"device": "cpu", "rounds": 1, "times": 1, "compiled": True}
        row = gpu_steps.measure_step(torch, _seconds, "resnet20", 4, "default", **how)
    assert set(row["medians"]) == {"fastconv", "fastconv graph", "torch"}
    assert row["failed"] == {"torch compiled": "RuntimeError: no compiler here"}
    assert row["ratio"] > 0


@pytest.mark.peer
def test_ceilings_are_measured() -> None:
    torch = pytest.importorskip("torch")
    rows = gpu_ops.ceilings(torch, _seconds, "cpu", size=64, rounds=1)
    assert [row["name"] for row in rows] == ["copy", "matmul fp32", "matmul tf32", "matmul bf16"]
    assert rows[0]["gigabytes_per_second"] > 0
    assert all(row["teraflops"] > 0 for row in rows[1:])
