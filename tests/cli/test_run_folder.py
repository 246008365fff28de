"""The folder of a run: who owns it, and that no run is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastconv.cli import main
from fastconv.cli.run_folder import claim_folder
from fastconv.errors import ArgumentError
from fastconv.training.run_folder import RunFolder

from .commands import TINY, fails, files_of

HOLD = """
import sys, time
from pathlib import Path
from fastconv.cli.run_folder import claim_folder
with claim_folder(sys.argv[1], Path("runs/x")):
    print("held", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def holder():
    """A process that owns the folder "run"."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, "run"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def test_two_trainings_do_not_share_a_folder(holder, capsys):
    assert "--output: got run, where another training is running" in fails(capsys, "train", *TINY, "--output", "run")
    holder.send_signal(signal.SIGKILL)
    holder.wait(60)
    assert main(["train", *TINY, "--output", "run"]) == 0  # a process that was killed blocks nothing


def test_a_folder_in_use_is_not_the_default():
    default = Path("runs/shapes10-lenet5")
    with (
        claim_folder(None, default) as first,
        claim_folder(None, default) as second,
        claim_folder(None, default) as third,
    ):
        folders = [folder.directory for folder in (first, second, third)]
    assert folders == [default, Path("runs/shapes10-lenet5-2"), Path("runs/shapes10-lenet5-3")]
    assert not any(map(Path.exists, folders))  # nothing was written


def test_a_second_run_does_not_overwrite_the_first(tmp_path, capsys):
    assert main(["train", *TINY]) == 0
    first = files_of(tmp_path / "runs/shapes10-lenet5")
    capsys.readouterr()
    assert main(["train", *TINY, "--seed", "1"]) == 0
    out = capsys.readouterr().out
    assert "runs/shapes10-lenet5-2/weights.safetensors" in out
    assert files_of(tmp_path / "runs/shapes10-lenet5") == first
    assert files_of(tmp_path / "runs/shapes10-lenet5-2") != first


@pytest.mark.parametrize("left", ["weights.safetensors", "log.jsonl", "checkpoint.safetensors", "run.toml"])
def test_a_named_folder_with_a_run_is_kept(tmp_path, capsys, left):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / left).write_bytes(b"of great worth")
    assert "--output: got run, which holds a run" in fails(capsys, "train", *TINY, "--output", "run")
    assert files_of(tmp_path / "run") == {left: b"of great worth"}


def test_other_files_in_the_folder_are_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert main(["train", *TINY, "--output", "run"]) == 0
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("output", ["/dev/null/run", "/proc/self/task", "file", "dangling", "n" * 300])
def test_a_folder_that_cannot_be_written_is_found_before_the_first_epoch(tmp_path, capsys, fitted, output):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("/dev/null/nowhere")
    error = fails(capsys, "train", *TINY, "--output", output)
    assert f"--output: got {output}" in error or output in error
    assert not fitted


def test_a_read_only_folder_is_found_before_the_first_epoch(tmp_path, capsys, fitted, monkeypatch):
    """The superuser may write everywhere, so that the system's word is given here."""
    import tempfile

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    error = fails(capsys, "train", *TINY, "--output", "run")
    assert error == "error: --output: got run (Permission denied); allowed: a folder that can be written\n"
    assert not fitted
    assert not (tmp_path / "run").exists()


def test_a_file_system_without_locks_is_told_of(monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.warns(UserWarning, match=r"run cannot be locked \(Bad file descriptor\)"),
        claim_folder("run", Path("x")),
    ):
        pass


def test_the_folder_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="mine"), claim_folder("run", Path("x")):
        raise ValueError("mine")
    with claim_folder("run", Path("x")), pytest.raises(ArgumentError, match="another training"):
        claim_folder("run", Path("x")).__enter__()
    assert os.listdir(tmp_path) == []


def test_interrupt_ends_with_130_and_intact_files(tmp_path):
    """A real SIGINT: the files of the last whole epoch are there and can be read."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fastconv", "train", *TINY, "--epochs", "100000", "--output", "run"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        # A test run in the background of a shell ignores SIGINT, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    try:
        while not (tmp_path / "run" / "checkpoint.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline, "no checkpoint after a minute"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait(60)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "interrupted"
    assert error.splitlines()[-2] == "to go on: fastconv resume run"
    assert "Traceback" not in error
    assert main(["evaluate", "run/weights.safetensors", "--limit", "20", "--backend", "numpy"]) == 0


@pytest.mark.parametrize("name", [path.name for path in RunFolder(Path()).files])
def test_no_callback_writes_a_file_of_the_run(capsys, name):
    error = fails(capsys, "train", *TINY, "--output", "run", "--callback", "CSVLogger", f"path=run/{name}")
    written = str(Path.cwd() / "run" / name)
    assert f"CSVLogger({written!r}) and RunSaver('run'), which both write 'run/{name}'" in error
    assert not Path("run").exists()
