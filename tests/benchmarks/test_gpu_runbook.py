"""The stages of the run-book, as far as they can be run without a GPU: on the emulator, with PyTorch on the CPU."""

from __future__ import annotations

import contextlib
import gc
import json
import shutil
import subprocess
import sys
import weakref
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastconv as fc
from benchmarks import (
    gpu_checks,
    gpu_counters,
    gpu_kernels,
    gpu_ops,
    gpu_plan,
    gpu_probes,
    gpu_record,
    gpu_report,
    gpu_small,
    gpu_smoke,
    gpu_steps,
)
from benchmarks.gpu_layers import LAYERS, tiny
from benchmarks.gpu_results import ROOT, Results, Setting, read
from tests.backends.emulator.emulated import emulator_or_skip

EMULATED = Setting(Path("unused"), "key", "cuda-emulator")


@pytest.mark.emulator
def test_saved_probes_are_the_emulators(monkeypatch, tmp_path) -> None:
    """Every leaf function has a probe, and the answers kept are those of now."""
    backend = emulator_or_skip()
    rows = gpu_probes.compare_with_saved(backend)
    assert all(row["differences"] == 0 and row["agrees"] for row in rows)
    text = gpu_probes.build.path_of("ptx.cuh").read_text()
    lines = [line for line in text.splitlines() if line.startswith(("__device__", "template"))]
    leaves = {line.split("(")[0].split()[-1] for line in lines}
    called = " ".join(probe.body for probe in gpu_probes.probes())
    assert {leaf for leaf in leaves if f"{leaf}(" not in called and f"{leaf}<" not in called} == set()


@pytest.mark.slow
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
    clean = gpu_checks.sanitizer_row("memcheck", 0, "========= ERROR SUMMARY: 0 errors\n")
    assert (clean["status"], clean["errors"], clean["exit"]) == ("ok", 0, 0)
    found = gpu_checks.sanitizer_row("memcheck", 0, "========= Invalid read\n========= ERROR SUMMARY: 12 errors\n")
    assert (found["status"], found["errors"]) == ("wrong", 12)
    assert "Invalid read" in found["output"]
    races = "========= RACECHECK SUMMARY: 3 hazards displayed (3 errors, 0 warnings)\n"
    assert gpu_checks.sanitizer_row("racecheck", 0, races)["errors"] == 3
    for code, text in ((1, "========= ERROR SUMMARY: 0 errors\n"), (0, "Device not supported"), (0, "\x00 nonsense")):
        row = gpu_checks.sanitizer_row("memcheck", code, text)  # the program failed, or it did not come to its end
        assert (row["status"], row["errors"]) == ("failed", None)


_NCU = """#!{python}
import json, sys
words = sys.argv
if any("hmma" in word for word in words) and {strict}:
    sys.exit("==ERROR== Failed to find metric")
assert words[words.index("--clock-control") + 1] == "none"
header = ["ID", "Kernel Name", "gpu__time_duration.sum", "launch__registers_per_thread", "smsp__note"]
rows = [header, ["", "", "nsecond", "", ""], ["0", "pack_input", "1,500.5", "32", "n/a"]]
rows.append(["1", "conv2d_halo", "9e4", "254", ""])
with open(words[words.index("--log-file") + 1], "w") as log:
    print("==PROF== Connected", file=log)
    for row in rows:
        print(",".join('"' + cell + '"' for cell in row), file=log)
with open(words[-1], "w") as launches:
    json.dump([dict(layer="64", name="pack_input"), dict(layer="64", name="conv2d_halo")], launches)
"""


def _tool(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.parametrize("strict", [False, True], ids=["knows the metrics", "does not"])
def test_counters_are_read(tmp_path, monkeypatch, strict: bool) -> None:
    _tool(tmp_path, monkeypatch, "ncu", _NCU.format(python=sys.executable, strict=strict))
    row = gpu_counters.counters(Setting(tmp_path, "key", "cupy"))
    assert [k["metrics"] for k in row["kernels"]] == [
        {"gpu__time_duration.sum": 1500.5, "launch__registers_per_thread": 32.0},
        {"gpu__time_duration.sum": 90000.0, "launch__registers_per_thread": 254.0},
    ]
    assert [(k["layer"], k["name"]) for k in row["kernels"]] == [("64", "pack_input"), ("64", "conv2d_halo")]
    assert len(row["tries"]) == strict
    results = Results(Setting(tmp_path, "key", "cupy"))
    results.append("ncu", "kernels", "ok", **row)
    assert "conv2d_halo: us 90, registers 254" in gpu_report.summary(results.rows())


def test_counters_that_cannot_be_read_are_told(tmp_path, monkeypatch) -> None:
    _tool(tmp_path, monkeypatch, "ncu", f"#!{sys.executable}\nprint('==ERROR== LibraryNotLoaded')")
    row = gpu_counters.counters(Setting(tmp_path, "key", "cupy"))
    assert row["status"] == "failed"
    assert len(row["tries"]) == 3
    assert "LibraryNotLoaded" in row["tries"][0]
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert gpu_counters.counters(Setting(tmp_path, "key", "cupy"))["status"] == "skipped"


def test_comparison_and_ratio() -> None:
    order, clock = [], lambda run, times: run() or 2e-6 * times
    found = gpu_record.compare({n: lambda n=n: order.append(n) for n in "ab"}, clock, rounds=3, times=5)
    assert order == ["a", "b"] * 4  # a warm-up, then in turn
    assert found["medians"] == {"a": pytest.approx(10), "b": pytest.approx(10)}
    assert len(found["microseconds"]["a"]) == 3
    medians = {"fastconv": 8.0, "fastconv graph": 5.0, "torch": 9.0, "torch graph": 6.0}
    assert gpu_record.ratio(medians) == {"best": "fastconv graph", "peer": "torch graph", "ratio": 1.2}
    assert gpu_record.ratio({"fastconv": 1.0}) == {}


def test_record_names_the_device() -> None:
    runtime = SimpleNamespace(
        getDeviceProperties=lambda i: {"name": b"H100", "multiProcessorCount": 132, "totalGlobalMem": 1 << 36},
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
    )
    device = SimpleNamespace(id=0, compute_capability="90", attributes={"MaxSharedMemoryPerBlockOptin": 232448})
    nvrtc = SimpleNamespace(getVersion=lambda: (13, 0))
    cuda = SimpleNamespace(runtime=runtime, nvrtc=nvrtc, Device=lambda: device)
    cupy = SimpleNamespace(__version__="14.2", cuda=cuda)
    where = gpu_record.environment(Setting(Path("x"), "key", "cupy"), SimpleNamespace(_cupy=cupy))
    assert (where["device"], where["shared_memory"], where["cupy"]) == ("H100", 232448, "14.2")
    assert {"card", "driver", "command", "compute_capability", "python", "tools", "cache"} <= {*where, "driver"}


@pytest.mark.slow
def test_smoke_tells_a_wrong_result_and_a_wrong_kernel(monkeypatch) -> None:
    backend = emulator_or_skip()
    conv, direction, kernel = gpu_smoke.CASES[0]
    assert gpu_smoke.convolution(backend, conv, direction, "fast", kernel)["status"] == "ok"
    assert gpu_smoke.convolution(backend, conv, direction, "fast", "conv2d_other")["status"] == "wrong"
    monkeypatch.setattr(backend, "conv2d", lambda *args, out, **how: backend.fill(1.0, out=out))
    assert gpu_smoke.convolution(backend, conv, direction, "strict", kernel)["status"] == "wrong"
    monkeypatch.setattr(backend, "conv2d", lambda *args, **how: None)  # nothing is written: NaN stays
    assert gpu_smoke.convolution(backend, conv, direction, "strict", kernel)["status"] == "wrong"


@pytest.mark.slow
def test_every_kernel_of_the_stages_is_listed() -> None:
    """What an H100 would be given, by the stage that needs it first; no launch is run."""
    listed = gpu_kernels.variants()
    counts = Counter(listed.values())
    assert set(counts) == {"smoke", "tests", "ops", "steps", "rest", "sanitizer", "more"}
    assert {kernel.name for kernel in listed} >= {"conv2d_halo", "conv2d_gather", "conv2d_weight", "adam_update"}
    some = gpu_kernels.variants(stages=("smoke", "cubins", "ops"))
    assert set(some.values()) == {"smoke", "ops"}
    assert some == {kernel: stage for kernel, stage in some.items() if listed[kernel] in {"smoke", "tests", "ops"}}
    assert len(some) < len(listed) / 5
    assert set(gpu_kernels.variants(stages=("more", "ncu")).values()) == {"more", "ncu"}
    stages = gpu_plan.groups(["rest", "smoke", "sanitizer"])
    assert [[stage.name for stage in group] for group in stages] == [["smoke"], ["rest", "sanitizer"]]


@pytest.mark.slow
def test_listed_kernels_are_those_that_run(monkeypatch) -> None:
    """With as many multiprocessors and as much shared memory as an H100 the emulator gets the same variants."""
    backend = emulator_or_skip()
    monkeypatch.setattr(backend.device, "multiprocessors", 132)
    listed, ran = gpu_kernels.variants(), []
    with backend.device.listening(lambda launch: ran.append(launch.kernel)):
        for (conv, direction, kernel), precision in zip(gpu_smoke.CASES, ("default", "fast") * 2, strict=True):
            gpu_smoke.convolution(backend, conv, direction, precision, kernel)
    assert ran
    assert set(ran) <= set(listed)


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
    """One precision of the captured steps: emulated, each takes half a minute."""
    chosen = "gradients or (step_gives and fast) or refused or out_of_memory"
    command = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.backends.cuda.fake_gpu",
        "-m",
        "gpu",
        "tests/backends/cuda/test_gpu.py",
    ]
    done = subprocess.run(
        [sys.executable, *command, "-k", chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "4 passed" in done.stdout


@pytest.mark.emulator
def test_a_rehearsal_runs_to_the_end_from_a_bare_copy(tmp_path) -> None:
    """All stages, with nothing but what a checkout holds, on a fake GPU; test_gpu_run.py has one without."""
    emulator_or_skip()
    copy, out = tmp_path / "copy", tmp_path / "out"
    for folder in ("fastconv", "kernels", "benchmarks", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    command = [sys.executable, "-m", "benchmarks.gpu", "all", "--out", str(out), "--backend", "fake-cupy"]
    stages = [name for name in gpu_plan.NAMES if name != "rest"]  # the suite of the fake has its own
    command += ["--budget", "3000", "--stages", ",".join(stages)]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False, timeout=3300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    rows = read(out / "gpu.jsonl")
    assert {row["stage"] for row in rows if row["item"] is None and row["status"] == "done"} == set(stages)
    environment = next(row for row in rows if row["item"] == "environment" and row["status"] == "ok")
    assert environment["fastconv"].startswith(str(copy))
    assert sum(row["stage"] == "tests" and row["status"] == "ok" for row in rows) > 5
    size = sum(path.stat().st_size for path in out.glob("gpu.*"))
    assert size < 4 << 20


@pytest.mark.peer
@pytest.mark.parametrize("precision", ["default", "fast"])
@pytest.mark.parametrize("direction", ["forward", "backward_input", "backward_weight"])
@pytest.mark.parametrize("name", ["stem_3_64_at_32", "stride2_64_128_at_32", "1x1_256_64_at_16"])
def test_a_pass_is_measured(name: str, direction: str, precision: str) -> None:
    """The emulator against PyTorch on the CPU: same results, all contenders timed."""
    torch = pytest.importorskip("torch")
    emulator_or_skip()
    conv = tiny(next(conv for conv in LAYERS if conv.name == name))
    with fc.use_backend("cuda-emulator") as backend:
        row = _measured(torch, backend, conv, direction, precision)
    assert set(row["medians"]) == {"fastconv", "fastconv graph", "torch channels_last", "torch contiguous_format"}
    assert row["difference"] < gpu_ops.BOUNDS[precision]
    assert (row["status"], row["failed"], row["compared_with"]) == ("ok", {}, "torch")
    assert row["ratio"] > 0


def _measured(torch, backend, conv, direction: str, precision: str) -> dict:
    how = {"device": "cpu", "rounds": 1, "times": 1, "sets": 2}
    return gpu_ops.measure_pass(torch, backend, gpu_record.host_clock, conv, direction, precision, **how)


@pytest.mark.slow
def test_without_pytorch_ours_is_timed_alone() -> None:
    backend = emulator_or_skip()
    row = _measured(None, backend, tiny(LAYERS[1]), "forward", "fast")
    assert set(row["medians"]) == {"fastconv", "fastconv graph"}
    assert (row["status"], row["compared_with"]) == ("ok", "strict")
    assert 0 < row["difference"] < gpu_ops.BOUNDS["fast"]


@pytest.mark.slow
def test_a_wrong_layer_is_timed_and_told(monkeypatch) -> None:
    backend = emulator_or_skip()
    right = backend.conv2d

    def wrong(x, weight, *args, out, **how) -> None:
        right(x, weight, *args, out=out, **how)
        if not weight.algorithm.name.startswith("conv2d_plain"):
            backend.scale(out, factor=1.1, out=out)

    monkeypatch.setattr(backend, "conv2d", wrong)
    row = _measured(None, backend, tiny(LAYERS[1]), "forward", "default")
    assert row["status"] == "wrong"
    assert row["medians"]


@pytest.mark.slow
def test_a_graph_of_a_peer_keeps_what_it_reads_alive() -> None:
    """A CUDA graph knows addresses only; the tensors of the computation must not be freed while it can be replayed."""

    class Tensor:
        pass

    tensor, replayed = Tensor(), []
    watched = weakref.ref(tensor)
    none = contextlib.nullcontext
    stream = SimpleNamespace(wait_stream=lambda other: None)
    graph = SimpleNamespace(replay=lambda: replayed.append(watched() is not None))
    cuda = SimpleNamespace(Stream=lambda: stream, current_stream=lambda: stream, stream=none, graph=none)
    cuda.CUDAGraph = lambda: graph
    run = gpu_ops.graphed(SimpleNamespace(cuda=cuda), lambda tensor=tensor: tensor)
    del tensor
    gc.collect()
    run()
    assert replayed == [True]
    del run
    gc.collect()
    assert watched() is None


def test_a_contender_that_breaks_cuda_is_named(monkeypatch) -> None:
    def bad() -> None:
        raise ValueError("no such luck")

    makers = {"good": lambda: lambda: None, "bad": lambda: bad}
    found = gpu_ops.made(makers, gpu_record.host_clock)
    assert (set(found.runs), found.failed) == ({"good"}, {"bad": "ValueError: no such luck"})
    assert set(found.seconds) == set(makers)
    monkeypatch.setattr(gpu_ops, "cuda_is_broken", lambda: True)
    with pytest.raises(RuntimeError, match="bad: ValueError"):
        gpu_ops.made(makers, gpu_record.host_clock)


@pytest.mark.peer
def test_a_step_is_measured_and_a_failing_peer_is_noted(monkeypatch) -> None:
    """On the CPU's backend, at a batch that is quick; what does not run costs nobody else."""
    torch = pytest.importorskip("torch")

    def broken(*args: object, **keywords: object) -> None:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", broken)
    with fc.use_backend("numba"):
        for compiled in (False, True):
            how = {"device": "cpu", "rounds": 1, "times": 1, "compiled": compiled}
            row = gpu_steps.measure_step(torch, gpu_record.host_clock, "resnet20", 4, "default", **how)
            assert row["status"] == "ok"
            if compiled:
                assert row["failed"] == {"torch compiled": "RuntimeError: no compiler here"}
            else:
                assert set(row["medians"]) >= {"fastconv", "fastconv graph", "torch channels_last"}
                assert row["ratio"] > 0


@pytest.mark.peer
def test_the_reference_of_the_smoke_test_agrees_with_pytorch() -> None:
    pytest.importorskip("torch")
    row = gpu_smoke.torch_agrees(EMULATED)
    assert row["status"] == "ok"
    assert 0 <= row["halo"] < 1e-12


@pytest.mark.peer
def test_ceilings_are_measured() -> None:
    torch = pytest.importorskip("torch")
    row = gpu_ops.ceilings(torch, gpu_record.host_clock, "cpu", size=64, rounds=1)
    assert set(row) == {"copy_gigabytes_per_second", "tf32_teraflops", "bf16_teraflops"}
    assert all(value > 0 for value in row.values())
