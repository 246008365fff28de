"""The run-book's machinery: what is kept when a process crashes, hangs, is killed or talks nonsense."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_plan, gpu_report
from benchmarks.gpu_plan import Stage
from benchmarks.gpu_results import ROOT, Results, Setting, read, run_key
from benchmarks.gpu_run import Runner

_WORKER = """
import ctypes, os, sys, time, types
from pathlib import Path
sys.path.insert(0, {root!r})
from benchmarks.gpu_results import Setting
from benchmarks.gpu_work import die_with_parent, work

def broken():
    raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

def poison():
    stream = types.SimpleNamespace(synchronize=broken)
    cuda = types.SimpleNamespace(get_current_stream=lambda: stream)
    sys.modules["cupy"] = types.SimpleNamespace(cuda=cuda)
    broken()

def hang():
    time.sleep(600)

def fail():
    print("what was printed before")
    raise ValueError("no such luck")

def good():
    return {{"answer": 42}}

{setup}
die_with_parent()
items = ((name, globals()[name.split("-")[0]]) for name in {items!r})
sys.exit(work("ops", Setting(Path({out!r}), "key", "cuda-emulator"), items))
"""


@dataclass(frozen=True)
class Script(Stage):
    """A stage whose process is a script."""

    path: str = ""

    def command(self, setting: Setting, left: float) -> list[str]:
        return [sys.executable, self.path]


def script(folder: Path, items: list[str], *, setup: str = "", limit: float = 60) -> Script:
    path = folder / "worker.py"
    path.write_text(_WORKER.format(root=str(ROOT), items=items, out=str(folder), setup=setup))
    return Script("ops", "", 1, item_limit=limit / 10, path=str(path))  # of a rehearsal ten times as long


def run(folder: Path, stage: Stage, *, budget: float = 100) -> Results:
    runner = Runner(Setting(folder, "key", "cuda-emulator"), budget, tell=lambda text: None)
    runner.run([stage])
    return runner.results


def statuses(results: Results) -> dict[str, str]:
    return {item: row["status"] for item, row in results.latest(["ops"]).items()}


def test_a_crash_costs_nobody_else(tmp_path) -> None:
    results = run(tmp_path, script(tmp_path, ["good-1", "crash", "good-2", "fail", "good-3"], setup="crash = os.abort"))
    want = {"good-1": "ok", "crash": "failed", "good-2": "ok", "fail": "failed", "good-3": "ok"}
    assert statuses(results) == want
    rows = results.latest(["ops"])
    assert "SIGABRT" in rows["crash"]["message"]
    assert rows["fail"]["message"] == "ValueError: no such luck"
    assert "in fail" in rows["fail"]["traceback"]
    assert rows["good-1"]["answer"] == 42
    assert results.outcome("ops") == "done"
    assert "what was printed before" in (tmp_path / "gpu.log").read_text()


def test_an_error_that_stays_ends_the_process_and_not_the_stage(tmp_path) -> None:
    results = run(tmp_path, script(tmp_path, ["poison", "good-1", "poison-2", "good-2"]))
    assert statuses(results) == {"poison": "failed", "good-1": "ok", "poison-2": "failed", "good-2": "ok"}
    assert results.latest(["ops"])["poison"]["message"] == "RuntimeError: CUDA_ERROR_ILLEGAL_ADDRESS"


@pytest.mark.slow  # it waits for seconds
def test_a_hang_is_ended(tmp_path) -> None:
    begin = time.monotonic()
    results = run(tmp_path, script(tmp_path, ["good-1", "hang", "good-2"], limit=4))
    assert statuses(results) == {"good-1": "ok", "hang": "timeout", "good-2": "ok"}
    assert "nothing new for 4 s" in results.latest(["ops"])["hang"]["message"]
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize(
    "setup", ["raise SystemExit('nothing to import')", "print('\\\\x00\\\\xff' * 9000); os._exit(9)", "1 / 0"]
)
def test_a_process_that_does_nothing_is_given_up(tmp_path, setup: str) -> None:
    results = run(tmp_path, script(tmp_path, ["good-1"], setup=setup))
    row = results.rows()[-1]
    assert (row["item"], row["status"]) == (None, "failed")
    assert "exit status" in row["message"]
    assert row["tail"]


@pytest.mark.slow  # it waits for seconds
def test_what_began_is_ended_with_the_budget(tmp_path) -> None:
    results = run(tmp_path, script(tmp_path, ["good-1", "hang", "good-2"]), budget=5)
    assert statuses(results) == {"good-1": "ok", "hang": "timeout"}
    assert results.outcome("ops") == "failed"
    assert "the budget of 5 s is spent" in results.rows()[-1]["message"]


def test_a_stage_that_does_not_fit_is_left_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Stage, "estimate", lambda self, setting: 60.0)
    results = run(tmp_path, script(tmp_path, ["good-1"]), budget=10)
    row = results.rows()[-1]
    assert (row["status"], row["message"]) == ("skipped", "estimated 60 s, 10 s left of 10")
    monkeypatch.undo()
    assert statuses(run(tmp_path, script(tmp_path, ["good-1"]))) == {"good-1": "ok"}


def test_a_second_call_goes_on_and_repeats_what_failed_if_asked(tmp_path) -> None:
    items = ["good-1", "crash", "good-2"]
    results = run(tmp_path, script(tmp_path, items, setup="crash = os.abort"))
    rows = len(results.rows())
    results = run(tmp_path, script(tmp_path, items, setup="crash = good"))
    assert len(results.rows()) == rows  # all had their answer
    results.ask_again()
    results = run(tmp_path, script(tmp_path, items, setup="crash = good"))
    assert statuses(results) == {"good-1": "ok", "crash": "ok", "good-2": "ok"}
    begun = [row["item"] for row in results.rows() if row["status"] == "begun"]
    assert sorted(begun) == ["crash", "crash", "good-1", "good-2"]


def test_lines_that_are_no_rows_are_left_out_and_spoil_none(tmp_path) -> None:
    results = Results(Setting(tmp_path, "key", "cuda-emulator"))
    results.append("ops", "a", "ok", seconds=1.0)
    with results.path.open("ab") as file:
        file.write(b"\xff\x00 nonsense\n[1, 2]\n{}\n" + b'{"run": "key", "stage": "ops", "item": "b", "sta')
    results.append("ops", "c", "ok", text="x\ny")
    results.append("ops", "d", "failed")
    assert statuses(results) == {"a": "ok", "c": "ok", "d": "failed"}
    other = Results(Setting(tmp_path, "other", "cuda-emulator"))
    assert other.rows() == []
    assert len(read(results.path)) == 3


def test_results_of_other_sources_or_devices_are_another_runs(monkeypatch) -> None:
    assert run_key("cuda-emulator") == run_key("cuda-emulator") != run_key("fake-cupy")
    keys = set()
    for card in ("NVIDIA H100, 580.1", "NVIDIA H200, 580.1"):
        monkeypatch.setattr("benchmarks.gpu_results.graphics_card", lambda card=card: card)
        keys.add(run_key("cupy"))
    assert len(keys) == 2


def test_without_a_gpu_it_stops_within_seconds_and_says_why(tmp_path, capsys) -> None:
    begin = time.monotonic()
    assert gpu.main(["all", "--out", str(tmp_path)]) == 1
    assert time.monotonic() - begin < 60
    said = capsys.readouterr().out
    assert "backend 'cupy': CuPy is" in said
    assert "nothing works here: no further stage is started" in said
    assert {row["stage"] for row in read(tmp_path / "gpu.jsonl")} == {"run", "smoke"}
    assert gpu.main(["report", str(tmp_path)]) == 0
    assert "failed" in capsys.readouterr().out


@pytest.mark.slow
def test_what_comes_back_may_travel(tmp_path) -> None:
    gpu.main(["all", "--out", str(tmp_path), "--stages", "smoke"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.jsonl", "gpu.log", "gpu.txt"]


def test_a_report_of_nothing_says_how_to_get_one(tmp_path, capsys) -> None:
    assert gpu.main(["report", str(tmp_path)]) == 1
    assert f"python -m benchmarks.gpu all --out {tmp_path}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["all"], ["everything"], ["all", "--out", "x", "--stages", "smoke,dance"]])
def test_wrong_words_are_refused(words: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        gpu.main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err


def test_the_estimate_fits_nine_minutes_and_tells_much_in_the_first(capsys) -> None:
    assert gpu.main(["estimate"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in gpu_plan.NAMES)
    assert gpu_plan.total(carried=True) < gpu_plan.total(carried=False) < 9 * 60
    first, seconds = [], 0.0
    for stage in gpu_plan.STAGES:
        seconds += stage.expected(carried=True)
        first.append(stage.name)
        if seconds > 60:
            break
    assert {"smoke", "probes", "tests"} <= set(first)


_TESTS = """
import sys, types
import pytest

class Stream:
    def synchronize(self):
        if getattr(sys, "poisoned", False):
            raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

sys.modules["cupy"] = types.SimpleNamespace(cuda=types.SimpleNamespace(get_current_stream=Stream))

def test_a(): pass

def test_poisons():
    sys.poisoned = True
    assert False, "an illegal address"

def test_b():
    import warnings
    warnings.warn("old", DeprecationWarning)
    Stream().synchronize()

def test_fails(): assert 1 == 2

@pytest.mark.skip(reason="not here")
def test_skipped(): pass
"""


@pytest.mark.slow  # it waits for seconds
def test_pytest_ends_a_worker_that_cuda_left_and_goes_on(tmp_path) -> None:
    """Without pytest-xdist; each test runs once, and its outcome is a row."""
    (tmp_path / "test_some.py").write_text(_TESTS)

    class Pytest(Stage):
        def command(self, setting: Setting, left: float) -> list[str]:
            words = [sys.executable, "-m", "pytest", str(tmp_path / "test_some.py"), "-p", "benchmarks.gpu_pytest"]
            words += [f"--gpu-out={tmp_path}", "--gpu-run=key", "--gpu-stage=tests", "-q", "-o", "filterwarnings="]
            return [*words, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", os.devnull, "-p", "no:xdist"]

    results = run(tmp_path, Pytest("tests", "", 1))
    found = {item.rsplit("::", 1)[-1]: row["status"] for item, row in results.latest(["tests"]).items()}
    warned = {name for name, status in found.items() if status == "warning"}
    outcomes = {name: status for name, status in found.items() if name not in warned}
    assert outcomes == {
        "test_a": "ok",
        "test_poisons": "failed",
        "test_b": "ok",
        "test_fails": "failed",
        "test_skipped": "skipped",
    }
    assert len(warned) == 1
    assert results.outcome("tests") == "done"
    ran = [row["item"] for row in results.rows() if row["status"] in {"ok", "failed"} and row["item"]]
    assert len(ran) == len(set(ran))


def test_the_summary_of_a_run_that_was_cut_off(tmp_path) -> None:
    results = Results(Setting(tmp_path, "key", "cupy"))
    results.append("run", None, "begun", budget=480)
    results.append("smoke", "environment", "ok", device="NVIDIA H100", cupy="14.2.0", seconds=1)
    results.append("smoke", None, "done", seconds=9.0, estimated=15)
    medians = {"fastconv": 200.0, "fastconv graph": 190.0, "torch channels_last": 95.0}
    row = {"layer": "64_64_at_32", "direction": "forward", "precision": "fast", "difference": 1e-3, "teraflops": 203.0}
    results.append(
        "ops", "a", "ok", **row, medians=medians, best="fastconv graph", peer="torch channels_last", ratio=0.5
    )
    results.append("ops", "b", "failed", message="CUDARuntimeError: launch failed")
    text = gpu_report.summary(gpu_report.last_run(tmp_path))
    assert "device NVIDIA H100" in text
    assert "ops " in text
    assert "cut off: 1 failed, 1 ok" in text
    assert "failed: b: CUDARuntimeError: launch failed" in text
    assert "190.0      95.0  0.50" in text
    assert gpu_report.trouble(results.rows()) == 1


@pytest.mark.emulator
def test_killed_in_any_stage_it_goes_on(tmp_path) -> None:
    """SIGKILL once in each stage: finished results remain, children end too, and no item is done twice."""
    stages = [stage.name for stage in gpu_plan.STAGES if stage.name not in {"tests", "rest", "compiled", "more"}]
    command = [sys.executable, "-m", "benchmarks.gpu", "all", "--out", str(tmp_path), "--backend", "cuda-emulator"]
    for stage in stages:
        _kill_in(command, tmp_path, stage)
    before = _finished(tmp_path)
    done = subprocess.run([*command, "--stages", ",".join(stages), "--budget", "3000"], cwd=ROOT, check=False)
    assert done.returncode == 0
    rows = read(tmp_path / "gpu.jsonl")
    assert {row["stage"] for row in rows if row["item"] is None and row["status"] == "done"} == set(stages)
    after = _finished(tmp_path)
    assert all(after[item] == row for item, row in before.items())  # none was repeated
    assert len(after) > len(before)


def _finished(folder: Path) -> dict[tuple[str, str], dict]:
    rows = read(folder / "gpu.jsonl")
    return {(row["stage"], row["item"]): row for row in rows if row["item"] and row["status"] == "ok"}


def _kill_in(command: list[str], folder: Path, stage: str) -> None:
    """Start a stage, and kill the run-book as soon as the stage has begun an item."""
    process = subprocess.Popen([*command, "--stages", stage, "--budget", "3000"], cwd=ROOT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        if any(row["stage"] == stage and row["item"] for row in read(folder / "gpu.jsonl")):
            break
        time.sleep(0.05)
    children = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
